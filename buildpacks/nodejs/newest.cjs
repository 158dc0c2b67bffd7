// Reads the JSON that `npm view` prints (a version, or a list of them) and prints the newest one; with `per-major` the
// newest of each of the last few major versions. Prints nothing when there is none.

const { readFileSync } = require('node:fs');
const semver = require(process.env.PEER_SEMVER || 'semver');

/** Versions to name as examples. */
const MAJORS_MAX = 6;

let versions = [];
try {
  versions = [JSON.parse(readFileSync(0, 'utf8'))]
    .flat()
    .filter((version) => semver.valid(version) && !semver.prerelease(version));
} catch {
  // npm printed nothing: no such version, or no registry.
}
versions.sort(semver.rcompare);
if (process.argv[2] === 'per-major') {
  const newest = new Map();
  for (const version of versions) if (!newest.has(semver.major(version))) newest.set(semver.major(version), version);
  console.log([...newest.values()].slice(0, MAJORS_MAX).join(', '));
} else if (versions.length > 0) {
  console.log(versions[0]);
}
