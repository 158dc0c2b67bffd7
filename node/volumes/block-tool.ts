// Runs by itself in the sandbox, on the files of a volume: copies of large files one block at a time, so that only the
// blocks that differ are written, or travel. Whether a block differs is told by its tag: a keyed hash, whose key is
// random and is shown to nobody, so that no content can be made whose tag is another's.
//
//   serve        reads `patch LIST DONE` and `map LIST MAPS` from its input, and answers each with a line
//   difference   LIST TOUCHED MAPS MAPS_AFTER BLOCKS DONE
//   apply        BLOCKS
//
// Lists hold paths below /from and /to, ended by NUL. What is no ordinary large file, or not any more, is left out of
// DONE: that is copied whole. Nothing of the daemon is imported here, nor anything else but what Node has.

import { createCipheriv, randomBytes } from 'node:crypto';
import * as fs from 'node:fs';

const FROM = '/from/';
const TO = '/to/';
const BLOCK_BYTES = 64 * 1024;
const READ_BYTES = 16 * BLOCK_BYTES;
const TAG_BYTES = 16;
const KEY_BYTES = 16;
const NO_FOLLOW = fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK;
/** A path of the longest kind in base64, and the words before it. */
const LINE_BYTES_MAX = 8 * 1024;
const LIST_BYTES = 64 * 1024;

/** What is known of a file: the tags of its blocks, one after the other. */
type Known = { tags: Buffer; sizeBytes: number };
/** Takes one block of a file; it is gone when that returns. */
type OnBlock = (index: number, block: Buffer) => void;

/** The tag is GMAC's of the block, with one number for all: tags are compared, and never shown to anyone. */
class Tags {
  readonly #key: Buffer;
  readonly #number = Buffer.alloc(12);

  constructor(key: Buffer) {
    this.#key = key;
  }

  of(block: Buffer): Buffer {
    const cipher = createCipheriv('aes-128-gcm', this.#key, this.#number);
    cipher.setAAD(block);
    cipher.final();
    return cipher.getAuthTag();
  }
}

const buffers = { source: Buffer.allocUnsafeSlow(READ_BYTES), other: Buffer.allocUnsafeSlow(BLOCK_BYTES) };

/** Under one name: nothing else is written to with it. */
function isAlone(stat: fs.Stats): boolean {
  return stat.isFile() && stat.nlink === 1;
}

/** Not mostly holes either, which tar skips. */
function isPlain(stat: fs.Stats): boolean {
  return isAlone(stat) && stat.blocks * 512 >= stat.size / 2;
}

function below(folder: string, path: Buffer): Buffer {
  return Buffer.concat([Buffer.from(folder), path]);
}

/** Undefined where there is none, or it is no such file. */
function opened<T>(path: Buffer, flags: number, use: (file: number, stat: fs.Stats) => T): T | undefined {
  let file: number;
  try {
    file = fs.openSync(path, flags | NO_FOLLOW);
  } catch {
    return undefined;
  }
  try {
    const stat = fs.fstatSync(file);
    const isFit = flags === fs.constants.O_RDONLY ? isPlain(stat) : isAlone(stat);
    return isFit ? use(file, stat) : undefined;
  } finally {
    fs.closeSync(file);
  }
}

/** From its beginning to its end as it is when that is reached. Answers its size. */
function eachBlock(file: number, onBlock: OnBlock): number {
  let position = 0;
  for (;;) {
    let bytes = 0;
    while (bytes < READ_BYTES) {
      const read = fs.readSync(file, buffers.source, bytes, READ_BYTES - bytes, position + bytes);
      if (read === 0) break;
      bytes += read;
    }
    for (let at = 0; at < bytes; at += BLOCK_BYTES) {
      onBlock((position + at) / BLOCK_BYTES, buffers.source.subarray(at, Math.min(at + BLOCK_BYTES, bytes)));
    }
    position += bytes;
    if (bytes < READ_BYTES) return position;
  }
}

/** The tags as they are from now on, and which blocks are others than before. */
function tagged(tags: Tags, known: Known | undefined, onOther: OnBlock): { add: OnBlock; known: () => Known } {
  const made: Buffer[] = [];
  let sizeBytes = 0;
  return {
    add(index, block) {
      const tag = tags.of(block);
      made.push(tag);
      sizeBytes += block.length;
      if (known === undefined) return onOther(index, block);
      const before = known.tags.subarray(index * TAG_BYTES, (index + 1) * TAG_BYTES);
      // The last one of a file that was shorter is another even where its tag is not.
      const length = Math.min(BLOCK_BYTES, known.sizeBytes - index * BLOCK_BYTES);
      if (length !== block.length || !tag.equals(before)) onOther(index, block);
    },
    known: () => ({ tags: Buffer.concat(made), sizeBytes }),
  };
}

/** Without a position: after what was written last. */
function writeAll(file: number, bytes: Buffer, position?: number): void {
  for (let at = 0; at < bytes.length; ) {
    at += fs.writeSync(file, bytes, at, bytes.length - at, position === undefined ? null : position + at);
  }
}

/** In whole seconds, as tar keeps them. */
function dress(file: number, like: { mode: number; mtimeMs: number }): void {
  fs.fchmodSync(file, like.mode & 0o7777);
  const seconds = Math.floor(like.mtimeMs / 1000);
  fs.futimesSync(file, seconds, seconds);
}

function* pathsIn(list: string): Generator<Buffer> {
  const file = fs.openSync(list, 'r');
  const part = Buffer.alloc(LIST_BYTES);
  let rest: Buffer = Buffer.alloc(0);
  for (let read = fs.readSync(file, part); read > 0; read = fs.readSync(file, part)) {
    rest = Buffer.concat([rest, part.subarray(0, read)]);
    for (let end = rest.indexOf(0); end >= 0; end = rest.indexOf(0)) {
      yield rest.subarray(0, end);
      rest = rest.subarray(end + 1);
    }
  }
  fs.closeSync(file);
}

/** The copy at /to of what is at /from. What was written here last is known of a file, unless tar wrote it since. */
class Copy {
  readonly #tags = new Tags(randomBytes(KEY_BYTES));
  readonly #known = new Map<string, Known & { stamp: string }>();

  /** Writes into the copy what differs. */
  patch(list: string, done: string): void {
    const patched: Buffer[] = [];
    for (const path of pathsIn(list)) {
      if (this.#patch(path)) patched.push(path, Buffer.alloc(1));
    }
    fs.writeFileSync(done, Buffer.concat(patched));
  }

  #patch(path: Buffer): boolean {
    const key = path.toString('latin1');
    const isDone = opened(below(FROM, path), fs.constants.O_RDONLY, (from, source) =>
      opened(below(TO, path), fs.constants.O_RDWR, (to, copy) => {
        const known = this.#known.get(key);
        const isKnown = known !== undefined && known.stamp === stampOf(copy);
        const write: OnBlock = (index, block) => writeAll(to, block, index * BLOCK_BYTES);
        const compare: OnBlock = (index, block) => {
          if (!isSame(to, block, index * BLOCK_BYTES)) write(index, block);
        };
        const { add, known: now } = tagged(this.#tags, isKnown ? known : undefined, isKnown ? write : compare);
        const sizeBytes = eachBlock(from, add);
        if (copy.size > sizeBytes) fs.ftruncateSync(to, sizeBytes);
        dress(to, source);
        this.#known.set(key, { ...now(), stamp: stampOf(fs.fstatSync(to)) });
        return true;
      }),
    );
    if (isDone !== true) this.#known.delete(key);
    return isDone === true;
  }
}

function stampOf({ dev, ino, size, ctimeMs }: fs.Stats): string {
  return [dev, ino, size, ctimeMs].join();
}

function isSame(file: number, block: Buffer, position: number): boolean {
  const { other } = buffers;
  let bytes = 0;
  while (bytes < block.length) {
    const read = fs.readSync(file, other, bytes, block.length - bytes, position + bytes);
    if (read === 0) return false;
    bytes += read;
  }
  return block.equals(other.subarray(0, bytes));
}

/** The tags of the large files that the other node has: the key, then of each its path, its size and its tags. */
class Maps {
  readonly key: Buffer;
  readonly files = new Map<string, Known>();

  constructor(key: Buffer = randomBytes(KEY_BYTES)) {
    this.key = key;
  }

  static read(path: string): Maps {
    const source = new Cursor(path);
    const maps = new Maps(source.take(KEY_BYTES));
    for (let line = source.line(); line !== undefined; line = source.line()) {
      const [name = '', sizeBytes, tagBytes] = line.split(' ');
      maps.files.set(decoded(name).toString('latin1'), {
        sizeBytes: Number(sizeBytes),
        tags: source.take(Number(tagBytes)),
      });
    }
    source.close();
    return maps;
  }

  write(path: string): void {
    const file = fs.openSync(path, 'w');
    writeAll(file, this.key);
    for (const [name, { sizeBytes, tags }] of this.files) {
      fs.writeSync(file, `${encoded(Buffer.from(name, 'latin1'))} ${sizeBytes} ${tags.length}\n`);
      writeAll(file, tags);
    }
    fs.closeSync(file);
  }
}

const encoded = (path: Buffer): string => path.toString('base64');
const decoded = (text: string): Buffer => Buffer.from(text, 'base64');

/** A file that is read from its beginning on. */
class Cursor {
  readonly #file: number;
  #position = 0;

  constructor(path: string) {
    this.#file = fs.openSync(path, 'r');
  }

  /** Undefined at its end. */
  line(): string | undefined {
    const part = Buffer.alloc(LINE_BYTES_MAX);
    const bytes = fs.readSync(this.#file, part, 0, LINE_BYTES_MAX, this.#position);
    if (bytes === 0) return undefined;
    const end = part.subarray(0, bytes).indexOf('\n');
    if (end < 0) throw new Error('a line is too long, or cut off');
    this.#position += end + 1;
    return part.toString('latin1', 0, end);
  }

  take(bytes: number): Buffer {
    const taken = Buffer.allocUnsafe(bytes);
    for (let at = 0; at < bytes; ) {
      const read = fs.readSync(this.#file, taken, at, bytes - at, this.#position);
      if (read === 0) throw new Error('it is cut off');
      at += read;
      this.#position += read;
    }
    return taken;
  }

  close(): void {
    fs.closeSync(this.#file);
  }
}

/** Of the copy at TO, which another node is to have: of all files in the list. */
function mapCopy(list: string, to: string): void {
  const maps = new Maps();
  const tags = new Tags(maps.key);
  for (const path of pathsIn(list)) {
    const { add, known } = tagged(tags, undefined, () => {});
    const isRead = opened(below(TO, path), fs.constants.O_RDONLY, (file) => eachBlock(file, add));
    if (isRead !== undefined) maps.files.set(path.toString('latin1'), known());
  }
  maps.write(to);
}

/**
 * Of each file of the list that is known, `file PATH`, then for each block that differs `block NUMBER BYTES` and its
 * bytes, then `end SIZE MODE SECONDS`. What was touched and is not among those leaves the maps: it travels otherwise.
 */
function difference(list: string, touched: string, maps: { before: string; after: string; blocks: string }): Buffer {
  const { key, files } = Maps.read(maps.before);
  const after = new Maps(key);
  const tags = new Tags(key);
  for (const [name, known] of files) after.files.set(name, known);
  for (const path of pathsIn(touched)) after.files.delete(path.toString('latin1'));
  const out = fs.openSync(maps.blocks, 'w');
  const told: Buffer[] = [];
  for (const path of pathsIn(list)) {
    const name = path.toString('latin1');
    const known = files.get(name);
    if (known === undefined) continue;
    opened(below(FROM, path), fs.constants.O_RDONLY, (file, { mode, mtimeMs }) => {
      fs.writeSync(out, `file ${encoded(path)}\n`);
      const { add, known: now } = tagged(tags, known, (index, block) => {
        fs.writeSync(out, `block ${index} ${block.length}\n`);
        writeAll(out, block);
      });
      const sizeBytes = eachBlock(file, add);
      fs.writeSync(out, `end ${sizeBytes} ${mode & 0o7777} ${Math.floor(mtimeMs / 1000)}\n`);
      after.files.set(name, now());
      told.push(path, Buffer.alloc(1));
    });
  }
  fs.closeSync(out);
  after.write(maps.after);
  return Buffer.concat(told);
}

/** Fails when a file is not there, or is no ordinary one. */
function apply(blocks: string): void {
  const source = new Cursor(blocks);
  for (let line = source.line(); line !== undefined; line = source.line()) {
    const [word, name = ''] = line.split(' ');
    if (word !== 'file') throw new Error(`not the beginning of a file: ${word}`);
    const path = below(TO, decoded(name));
    makeWritable(path);
    const isDone = opened(path, fs.constants.O_WRONLY, (file) => applyTo(file, source));
    if (isDone === undefined) throw new Error('a file that is to be changed is not there');
  }
  source.close();
}

/** Whoever owns a file may change it after all, by its mode; the one that it is to have comes with its end. */
function makeWritable(path: Buffer): void {
  const stat = fs.lstatSync(path, { throwIfNoEntry: false });
  if (stat?.isFile() && (stat.mode & 0o200) === 0) fs.chmodSync(path, (stat.mode & 0o7777) | 0o200);
}

function applyTo(file: number, source: Cursor): true {
  for (;;) {
    const [word, ...numbers] = (source.line() ?? '').split(' ');
    const [first = 0, second = 0, third = 0] = numbers.map(Number);
    if (word === 'end') {
      fs.ftruncateSync(file, first);
      dress(file, { mode: second, mtimeMs: third * 1000 });
      return true;
    }
    if (word !== 'block' || second > BLOCK_BYTES) throw new Error('not a block');
    writeAll(file, source.take(second), first * BLOCK_BYTES);
  }
}

async function serve(): Promise<void> {
  const copy = new Copy();
  const { createInterface } = await import('node:readline');
  for await (const line of createInterface({ input: process.stdin })) {
    const [word, first = '', second = ''] = line.split(' ');
    if (word === 'patch') copy.patch(first, second);
    else if (word === 'map') mapCopy(first, second);
    else throw new Error(`not a command: ${word}`);
    process.stdout.write('done\n');
  }
}

const [command, ...rest] = process.argv.slice(2);
const word = (at: number): string => rest[at] ?? '';
if (command === 'serve') await serve();
else if (command === 'difference') {
  fs.writeFileSync(word(5), difference(word(0), word(1), { before: word(2), after: word(3), blocks: word(4) }));
} else if (command === 'apply') apply(word(0));
else throw new Error(`not a command: ${command}`);
