// Decides which package manager installs an app's packages, and which versions of it can: `packageManager` in
// package.json, else the lock file. Pure but for reading those files.

const LOCKS = {
  npm: ['npm-shrinkwrap.json', 'package-lock.json'],
  pnpm: ['pnpm-lock.yaml'],
  yarn: ['yarn.lock'],
};
const NAMES = Object.keys(LOCKS);
/** Loaded only when needed: most apps name no version. */
const loadSemver = () => require(process.env.PEER_SEMVER || 'semver');
const FOREIGN_LOCKS = ['bun.lock', 'bun.lockb'];

/** Versions that read the app's lock file, which no other versions may rewrite. */
const rangeByLock = {
  npm: () => '',
  yarn: (lock) => {
    const format = /^\s*version: (\d+)/m.exec(/^__metadata:[\s\S]*?\n\n/m.exec(`${lock}\n\n`)?.[0] ?? '')?.[1];
    // Without a metadata section it is the format of Yarn 1.
    if (format === undefined) return '1.x';
    if (Number(format) < 8) return '3.x';
    return { 8: '>=4.0.0 <4.14.0', 9: '>=4.14.0 <4.16.0' }[format] ?? '>=4.16.0';
  },
  pnpm: (lock) => {
    const format = Number.parseFloat(/^lockfileVersion:\s*'?([\d.]+)/m.exec(lock)?.[1] ?? '9');
    if (format < 6) return '7.x';
    return format < 9 ? '8.x' : '>=9';
  },
};

/**
 * What both ranges allow, as one: the app's own wish within what reads its lock file. A wish that is no range is none
 * ("please use pnpm" is a habit). Fails when nothing is left.
 */
const within = ({ wish, lockRange, lockFile, name, fail }) => {
  const semver = loadSemver();
  const wished = semver.validRange(wish);
  if (wished === null) return undefined;
  const known = semver.validRange(lockRange || '*');
  const both = wished
    .split('||')
    .flatMap((one) => known.split('||').map((other) => [one.trim(), other.trim()]))
    .filter(([one, other]) => semver.intersects(one, other));
  if (both.length === 0) {
    fail(
      `"engines" in package.json asks for ${name} "${wish}", and ${lockFile} was written by ${name} ${lockRange}: ` +
        `make it again with the ${name} that you ask for, or change "engines"`,
    );
  }
  return both.map((ranges) => ranges.join(' ')).join(' || ');
};

/** The npm package that brings a manager of a range: Yarn changed its own after version 1. */
const packageOf = (name, range) => {
  if (name !== 'yarn') return name;
  return loadSemver().subset(range, '<2.0.0-0') ? 'yarn' : '@yarnpkg/cli-dist';
};

exports.packageManager = ({ manifest, engines, has, read, fail }) => {
  const locks = (name) => LOCKS[name].filter(has);
  const managed = typeof manifest.packageManager === 'string' ? manifest.packageManager : '';
  const [, wished, version] = /^([a-z]+)@(\d+\.\d+\.\d+[^+\s]*)(\+\S*)?$/.exec(managed) ?? [];
  if (managed !== '' && !NAMES.includes(wished)) {
    fail(
      `"packageManager" in package.json: "${managed}" is not one of npm, pnpm or yarn with a full version, such as "pnpm@9.15.0"`,
    );
  }
  const name = wished ?? NAMES.find((one) => locks(one).length > 0) ?? 'npm';
  const lockFile = locks(name)[0] ?? '';
  const unusedLocks = [...NAMES.filter((one) => one !== name).flatMap(locks), ...FOREIGN_LOCKS.filter(has)];
  // npm of the node installs for every version of npm.
  if (name === 'npm') return { name, lockFile, unusedLocks, program: name, range: '', source: '' };
  const asking = (range, source) => ({ name, lockFile, unusedLocks, program: packageOf(name, range), range, source });
  if (version) return asking(version, '"packageManager" in package.json');
  const lockRange = lockFile === '' ? '' : rangeByLock[name](read(lockFile));
  const wish = typeof engines[name] === 'string' ? engines[name].trim() : '';
  const range = wish === '' ? undefined : within({ wish, lockRange, lockFile, name, fail });
  if (range === undefined) return asking(lockRange || rangeByLock[name](''), lockFile || 'package.json');
  return asking(range, `"engines" in package.json${lockFile === '' ? '' : ` and ${lockFile}`}`);
};
