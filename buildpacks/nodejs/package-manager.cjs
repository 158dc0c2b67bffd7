// Decides which package manager installs an app's packages, and which versions of it can: `packageManager` in
// package.json, else the lock file. Pure but for reading those files.

const LOCKS = {
  npm: ['npm-shrinkwrap.json', 'package-lock.json'],
  pnpm: ['pnpm-lock.yaml'],
  yarn: ['yarn.lock'],
};
const NAMES = Object.keys(LOCKS);
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

exports.packageManager = ({ manifest, engines, has, read, fail }) => {
  const locks = (name) => LOCKS[name].filter(has);
  const wish = typeof manifest.packageManager === 'string' ? manifest.packageManager : '';
  const [, wished, version] = /^([a-z]+)@(\d+\.\d+\.\d+[^+\s]*)(\+\S*)?$/.exec(wish) ?? [];
  if (wish !== '' && !NAMES.includes(wished)) {
    fail(
      `"packageManager" in package.json: "${wish}" is not one of npm, pnpm or yarn with a full version, such as "pnpm@9.15.0"`,
    );
  }
  const name = wished ?? NAMES.find((one) => locks(one).length > 0) ?? 'npm';
  const lockFile = locks(name)[0] ?? '';
  const unusedLocks = [...NAMES.filter((one) => one !== name).flatMap(locks), ...FOREIGN_LOCKS.filter(has)];
  const asked = [
    // npm of the node installs for every version of npm.
    name === 'npm' ? { range: '', source: '' } : undefined,
    version && { range: version, source: '"packageManager" in package.json' },
    engines[name] && { range: String(engines[name]), source: '"engines" in package.json' },
    { range: rangeByLock[name](lockFile === '' ? '' : read(lockFile)), source: lockFile || 'package.json' },
  ].find(Boolean);
  return { name, lockFile, unusedLocks, ...asked };
};
