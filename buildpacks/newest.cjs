// Reads versions (the JSON that `npm view` prints, or one a line) and prints the newest one that satisfies RANGE; with
// `--per-major` the newest of each of the last few major versions. Prints nothing when there is none.
// Usage: node newest.cjs RANGE | --per-major. The semver package is found through PEER_SEMVER.

const { readFileSync } = require('node:fs');
const semver = require(process.env.PEER_SEMVER || 'semver');

/** Versions to name as examples. */
const MAJORS_MAX = 6;

const range = process.argv[2];
const text = readFileSync(0, 'utf8');
let versions;
try {
  versions = [JSON.parse(text)].flat();
} catch {
  // Not JSON: a list, or nothing at all when there is no such version or no registry.
  versions = text.split('\n').map((line) => line.trim());
}
versions = versions.filter((version) => semver.valid(version)).sort(semver.rcompare);
if (range === '--per-major') {
  const newest = new Map();
  for (const version of versions) {
    const major = semver.major(version);
    if (!semver.prerelease(version) && !newest.has(major)) newest.set(major, version);
  }
  console.log([...newest.values()].slice(0, MAJORS_MAX).join(', '));
} else {
  const found = versions.find((version) => semver.satisfies(version, range));
  if (found) console.log(found);
}
