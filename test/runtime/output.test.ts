// Reading what an app writes: lines, pace, and handing over to another reader.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LineSplitter, LOG_LINE_BYTES_MAX } from '../../node/lib/lines.ts';
import { OUTPUT_BYTES_PER_SECOND_MAX, type OutputReader, Pace, readOutput } from '../../node/runtime/logs/fifo.ts';
import { type TestNode, testNode } from './harness.ts';

describe('line splitter', () => {
  function split(chunks: Buffer[]): string[] {
    const splitter = new LineSplitter();
    const lines = chunks.flatMap((chunk) => [...splitter.push(chunk)]);
    const rest = splitter.flush();
    return rest === undefined ? lines : [...lines, rest];
  }

  it.each([
    ['a line in pieces', ['ab', 'c\nd', 'e\n'], ['abc', 'de']],
    ['empty lines', ['\n\nx\n'], ['', '', 'x']],
    ['an end without newline', ['x\ny'], ['x', 'y']],
    ['carriage returns at the end only', ['a\rb\r\n'], ['a\rb']],
  ])('handles %s', (_, chunks, lines) => {
    expect(split(chunks.map((chunk) => Buffer.from(chunk)))).toEqual(lines);
  });

  it('replaces what is not UTF-8', () => {
    expect(split([Buffer.from([0x61, 0xff, 0x62, 10])])).toEqual(['a\ufffdb']);
  });

  it('cuts long lines between characters and loses nothing', () => {
    const text = '€'.repeat(LOG_LINE_BYTES_MAX);
    const lines = split([Buffer.from(text)]);
    for (const line of lines) expect(Buffer.byteLength(line)).toBeLessThanOrEqual(LOG_LINE_BYTES_MAX);
    expect(lines.join('')).toBe(text);
    const splitter = new LineSplitter();
    const goesOn: boolean[] = [];
    for (const _ of splitter.push(Buffer.from(`${text}\nshort\n`))) goesOn.push(splitter.goesOn);
    expect(goesOn).toEqual([...lines.slice(1).map(() => true), false, false]);
  });

  it('does not depend on how the bytes arrive', () => {
    const line = fc.string({ unit: 'grapheme' }).map((text) => text.replace(/[\r\n]/g, ''));
    fc.assert(
      fc.property(fc.array(line), fc.integer({ min: 1, max: 9 }), (lines, size) => {
        const bytes = Buffer.from(lines.map((text) => `${text}\n`).join(''));
        const chunks = [];
        for (let start = 0; start < bytes.length; start += size) chunks.push(bytes.subarray(start, start + size));
        expect(split(chunks)).toEqual(lines);
      }),
    );
  });
});

describe('output reader', () => {
  let node: TestNode;
  let fifo: string;
  let children: ChildProcess[];

  beforeEach(async () => {
    node = await testNode();
    fifo = join(node.dataDir, 'out');
    execFileSync('mkfifo', [fifo]);
    children = [];
  });
  afterEach(async () => {
    for (const child of children) child.kill('SIGKILL');
    await node.dispose();
  });

  function read(onLine: (text: string) => void, ready = (): Promise<void> | undefined => undefined): OutputReader {
    const descriptor = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    return readOutput(descriptor, { pace: new Pace(), onLine, ready });
  }
  function write(script: string): void {
    const out = openSync(fifo, constants.O_RDWR);
    children.push(spawn('bash', ['-c', script], { stdio: ['ignore', out, 'ignore'] }));
    // Left to the child alone, so that its end is the end of the file.
    closeSync(out);
  }

  it('reads 16 MB of a flood whole, in order, without holding up other work or growing', async () => {
    const bytes = 16 * 1024 * 1024;
    let count = 0;
    let inOrder = true;
    const reader = read((text) => {
      if (text !== `line ${String(count).padStart(58, '0')}`) inOrder = false;
      count++;
    });
    const delayed = monitorEventLoopDelay({ resolution: 5 });
    const before = process.memoryUsage().rss;
    let most = 0;
    const sampler = setInterval(() => {
      most = Math.max(most, process.memoryUsage().rss - before);
    }, 20);
    const startMs = performance.now();
    await writeFile(join(node.dataDir, 'flood.pl'), `printf("line %058d\\n", $_) for 0..${bytes / 64 - 1};`);
    delayed.enable();
    write(`exec perl ${join(node.dataDir, 'flood.pl')}`);
    await reader.ended;
    delayed.disable();
    clearInterval(sampler);
    expect({ count, inOrder }).toEqual({ count: bytes / 64, inOrder: true });
    expect((performance.now() - startMs) / 1000).toBeGreaterThan((bytes / OUTPUT_BYTES_PER_SECOND_MAX) * 0.8);
    expect(delayed.percentile(99) / 1e6).toBeLessThan(50);
    expect(most).toBeLessThan(100 * 1024 * 1024);
  });

  it('waits while the sink is full', async () => {
    let release: (() => void) | undefined;
    let lines = 0;
    const reader = read(
      () => lines++,
      () => (release === undefined ? new Promise((resolve) => (release = resolve)) : undefined),
    );
    write('head -c 200000 /dev/zero | tr "\\0" "\\n"');
    await expect.poll(() => release).toBeDefined();
    const held = lines;
    expect(held).toBeLessThanOrEqual(65_536);
    release?.();
    await reader.ended;
    expect(lines).toBe(200_000);
  });

  it('leaves what it has not read to the next reader', async () => {
    const first: string[] = [];
    const second: string[] = [];
    const one = read((text) => first.push(text));
    write('for i in $(seq 100); do echo "line $i"; sleep 0.002; done');
    await expect.poll(() => first.length, { interval: 5 }).toBeGreaterThan(10);
    one.detach();
    await one.ended;
    const two = read((text) => second.push(text));
    await two.ended;
    expect([...first, ...second]).toEqual(Array.from({ length: 100 }, (_, index) => `line ${index + 1}`));
    expect(second.length).toBeGreaterThan(0);
  });
});
