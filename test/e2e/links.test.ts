// The local network of the tests itself: what its links lose, delay and let through, seen with datagrams between two
// hosts.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Lan } from '../../scripts/lan.ts';
import { narrowedBy } from '../../scripts/lan-links.ts';
import { inNamespace, run } from '../../scripts/local-cluster.ts';

const PORT = 9_000;
const DATAGRAMS = 300;
/** An answer that has not come by then has been lost, unless the way is slow. */
const LOST_AFTER_MS = 700;
const SLOW_AFTER_MS = 10_000;
const ECHO = `
  const socket = require('node:dgram').createSocket('udp4');
  socket.on('message', (message, { address, port }) => socket.send(message, port, address));
  socket.bind(${PORT}, () => console.log('bound'));
  process.stdin.resume().on('end', () => process.exit());`;
/** Sends datagrams, and ends with how many came back and when the last one did. */
const ASK = `
  const [address, count, bytes, waitMs] = process.argv.slice(1);
  const socket = require('node:dgram').createSocket('udp4');
  const startMs = performance.now();
  let [sent, back, lastMs] = [0, 0, 0];
  const end = () => { console.log(JSON.stringify({ back, lastMs })); process.exit(); };
  socket.on('message', () => { back++; lastMs = performance.now() - startMs; if (back === Number(count)) end(); });
  const timer = setInterval(() => {
    for (let i = 0; i < 5 && sent < count; i++, sent++) socket.send(Buffer.alloc(Number(bytes)), ${PORT}, address);
    if (sent < count) return;
    clearInterval(timer);
    setTimeout(end, Number(waitMs));
  }, 2);`;

describe('a link between two hosts', () => {
  let lan: Lan;
  let echo: ChildProcess;
  const there = [['a', 'b']] as const;
  const back = [['b', 'a']] as const;

  beforeAll(async () => {
    lan = await Lan.create(['a', 'b', 'c']);
    const [program, ...args] = inNamespace(lan.namespaceOf('b'), [process.execPath, '-e', ECHO]);
    echo = spawn(program!, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(echo.stdout!, 'data');
  });
  afterAll(async () => {
    echo?.stdin?.end();
    await lan?.remove();
  });

  async function ask(
    options: { count?: number; bytes?: number; waitMs?: number } = {},
  ): Promise<{ back: number; lastMs: number }> {
    const { count = DATAGRAMS, bytes = 100, waitMs = LOST_AFTER_MS } = options;
    const args = [lan.addressOf('b'), count, bytes, waitMs].map(String);
    const { stdout } = await run(inNamespace(lan.namespaceOf('a'), [process.execPath, '-e', ASK, ...args]));
    return JSON.parse(stdout);
  }

  it('carries all', async () => {
    expect((await ask()).back).toBe(DATAGRAMS);
  });

  it('loses the share it is told to, and all when it is cut, either way', async () => {
    for (const ways of [there, back]) {
      await lan.setLinks(ways, { lossShare: 0.5 });
      const { back } = await ask();
      expect(back).toBeGreaterThan(DATAGRAMS * 0.25);
      expect(back).toBeLessThan(DATAGRAMS * 0.75);
      await lan.setLinks(ways, { lossShare: 1 });
      expect((await ask({ count: 20 })).back).toBe(0);
      await lan.setLinks(ways, { lossShare: 0 });
    }
    expect((await ask()).back).toBe(DATAGRAMS);
  });

  it('is slow as a narrow pipe is', async () => {
    await lan.setLinks(there, { kbitPerSecond: narrowedBy(50) });
    const { back, lastMs } = await ask({ count: 20, bytes: 1_400, waitMs: SLOW_AFTER_MS });
    expect(back).toBe(20);
    expect(lastMs).toBeGreaterThan(700);
    // Another pipe beside it, and another width, while it is in use.
    await lan.setLinks([['a', 'c']], { kbitPerSecond: narrowedBy(50) });
    await lan.setLinks(there, { kbitPerSecond: narrowedBy(25) });
    expect((await ask({ count: 20, bytes: 1_400, waitMs: SLOW_AFTER_MS })).back).toBe(20);
    await lan.setLinks(there, { kbitPerSecond: undefined });
    expect((await ask({ count: 20, bytes: 1_400, waitMs: SLOW_AFTER_MS })).lastMs).toBeLessThan(700);
  });
});
