// What packs of apps with a package.json share when they read it, and how they tell a compile script what they found:
// as shell variables. Pure but for what it prints.

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** One word of a shell line. */
exports.word = (text) => (/^[\w./-]+$/.test(text) ? text : quoted(text));

const mapping = (value) => (typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {});
exports.mapping = mapping;

/** Ends the compile script with the reason (pack.sh). */
const fail = (why) => {
  process.stdout.write(`fail ${quoted(why)}\n`);
  process.exit(0);
};
exports.fail = fail;

/** For eval: texts as they are, yes or nothing for what is so or not. */
exports.printVariables = (variables) => {
  for (const [name, value] of Object.entries(variables)) {
    const text = value === true ? 'yes' : value === false ? '' : value;
    process.stdout.write(`${name}=${quoted(text)}\n`);
  }
};

/** What package.json says. Fails when it is none. */
exports.readManifest = (text) => {
  let manifest;
  try {
    manifest = JSON.parse(text);
  } catch (error) {
    fail(`package.json is not valid JSON: ${error.message.split('\n')[0]}`);
  }
  if (mapping(manifest) !== manifest) fail('package.json must hold a JSON object');
  const scripts = mapping(manifest.scripts);
  const named = (kinds, name) => kinds.some((kind) => mapping(manifest[kind])[name] !== undefined);
  return {
    manifest,
    script: (name) => (typeof scripts[name] === 'string' ? scripts[name].trim() : ''),
    /** Whether any of the fields names something. */
    any: (...fields) => fields.some((field) => Object.keys(mapping(manifest[field])).length > 0),
    uses: (name) => named(['dependencies', 'devDependencies'], name),
  };
};

/** Whether Next is started as it is by itself, so that what its build leaves may be run in another way. */
exports.isPlainNext = ({ script, uses }, hasServer) => {
  const start = script('start');
  const isPlain = start === '' ? !hasServer : /^next (?:start|dev)(?:\s+-[pH]\s+\S+)*$/.test(start);
  return uses('next') && isPlain;
};
