// Decides which Node an app asks for: `engines.node`, else .node-version, else .nvmrc. Pure but for reading those
// files.

/** Names that .nvmrc may hold: nodejs.org's code names of long-term support, by major version. */
const CODE_NAMES = { hydrogen: 18, iron: 20, jod: 22, krypton: 24 };

/** The range that a line of .nvmrc or .node-version stands for; undefined when it is none. */
const rangeOf = (line, validRange) => {
  const text = line.toLowerCase();
  if (['node', 'stable', 'current', 'latest', 'lts/*', 'lts'].includes(text)) return '*';
  const major = CODE_NAMES[text.replace(/^lts\//, '')];
  if (major !== undefined) return `${major}.x`;
  return validRange(text.replace(/^v/, '')) === null ? undefined : text.replace(/^v/, '');
};

exports.nodeWanted = ({ engines, read, fail }) => {
  const asked = String(engines.node ?? '').trim();
  const file = asked === '' ? ['.node-version', '.nvmrc'].find((name) => read(name).trim() !== '') : undefined;
  if (asked === '' && file === undefined) return { ok: true, range: '', source: '' };
  // Loaded only when needed: most apps name no version.
  const semver = require(process.env.PEER_SEMVER || 'semver');
  const source = file ?? '"engines" in package.json';
  const text = file === undefined ? asked : read(file).trim().split(/\s/)[0];
  const range = file === undefined ? text : rangeOf(text, semver.validRange);
  if (range === undefined || semver.validRange(range) === null) {
    fail(`${source}: "${text}" is not a range of versions, such as "24.x"`);
  }
  return { ok: semver.satisfies(process.versions.node, range), range, source };
};
