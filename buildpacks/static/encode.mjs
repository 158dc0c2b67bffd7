// Compresses the text files of a folder once, when the app is staged: for each one a `.br` and a `.gz` of the same
// path below another folder, where that saves enough. Files that lie beside their own `.br` or `.gz` are left to
// these. Usage: node encode.mjs FOLDER INTO

import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, extname, join } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import { COMPRESSIBLE } from './types.mjs';

/** Below one packet nothing is saved. */
const BYTES_MIN = 1_024;
/** Larger files take minutes to compress well, and are rarely text. */
const BYTES_MAX = 8 * 1024 * 1024;
/** Of all files together; the rest is sent as it is. */
const TOTAL_BYTES_MAX = 128 * 1024 * 1024;
/** A copy that saves less than a tenth is not worth its place. */
const SIZE_RATIO_MAX = 0.9;
/** Brotli's best takes ten times longer for a few per cent; large files get the next best. */
const BEST_BYTES_MAX = 512 * 1024;

const [root, into] = process.argv.slice(2);
let total = 0;
let written = 0;

const entries = await readdir(root, { recursive: true, withFileTypes: true });
const paths = entries
  .filter((entry) => entry.isFile() && COMPRESSIBLE.has(extname(entry.name).toLowerCase()))
  .map((entry) => join(entry.parentPath, entry.name).slice(root.length).replace(/^\/+/, ''))
  .filter((path) => !path.split('/').some((part) => part.startsWith('.') || part === 'node_modules'))
  .sort();
const present = new Set(paths);

for (const path of paths) {
  const { size } = await stat(join(root, path));
  if (size < BYTES_MIN || size > BYTES_MAX || total + size > TOTAL_BYTES_MAX) continue;
  total += size;
  const content = await readFile(join(root, path));
  const quality = size <= BEST_BYTES_MAX ? constants.BROTLI_MAX_QUALITY : constants.BROTLI_MAX_QUALITY - 2;
  const params = { [constants.BROTLI_PARAM_QUALITY]: quality, [constants.BROTLI_PARAM_SIZE_HINT]: size };
  const copies = [
    ['.br', () => promisify(brotliCompress)(content, { params })],
    ['.gz', () => promisify(gzip)(content, { level: constants.Z_BEST_COMPRESSION })],
  ];
  for (const [suffix, compress] of copies) {
    if (present.has(path + suffix)) continue;
    const copy = await compress();
    if (copy.length > size * SIZE_RATIO_MAX) continue;
    await mkdir(dirname(join(into, path)), { recursive: true });
    await writeFile(join(into, path + suffix), copy);
    written++;
  }
}
if (written > 0) console.log(`Compressed copies: ${written}`);
