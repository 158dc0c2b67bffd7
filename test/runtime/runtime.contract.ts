// What every Runtime guarantees, as tests that run against each implementation. A harness makes the runtime and
// droplets.

import { randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { asAppId, asInstanceId, asReleaseId, type Digest, type InstanceId } from '../../crdt/ids.ts';
import type { InstanceSpec } from '../../node/core/types.ts';
import type { LogLine, LogStore } from '../../node/ports/logs.ts';
import type { Runtime, RuntimeEvent, UsageMeter } from '../../node/ports/runtime.ts';

export type RuntimeHarness = {
  /** A new runtime on the harness's data directory; the one before it has been closed. */
  open(): Promise<{ runtime: Runtime & UsageMeter; logs: LogStore }>;
  droplet(files: Record<string, string>): Promise<Digest>;
  /** The stack that its runtime offers. */
  stack: string;
  /** False: of a process that was killed it may only say that it was perhaps for want of memory. */
  tellsOutOfMemory?: boolean;
  /** Fails when a process, a control group or a folder is left over. */
  checkNothingLeft(): Promise<void>;
  dispose(): Promise<void>;
};

/** Where this machine reaches an instance; without a host, on its loopback. */
export type Address = { port: number; host?: string };

const MIB = 1024 * 1024;
const WAIT = { timeout: 20_000, interval: 20 };

/** Answers every request with what the query asks for; says when it got TERM. */
export const SERVER = `
const http = require('node:http');
const { spawn, spawnSync } = require('node:child_process');
console.log('hello from out');
console.error('hello from err');
http.createServer((req, res) => {
  const url = new URL(req.url, 'http://app');
  if (url.pathname === '/env') return res.end(JSON.stringify(process.env));
  if (url.pathname === '/sh') {
    const done = spawnSync('bash', ['-c', url.searchParams.get('c')], { encoding: 'utf8' });
    return res.end(JSON.stringify({ status: done.status, out: done.stdout, err: done.stderr }));
  }
  if (url.pathname === '/log') { console.log(url.searchParams.get('text')); return res.end(); }
  if (url.pathname === '/exit') { res.end(); process.stdout.write(url.searchParams.get('last') ?? ''); setImmediate(() => process.exit(Number(url.searchParams.get('status')))); return; }
  if (url.pathname === '/eat') { const kept = []; const eat = () => { kept.push(Buffer.alloc(8 << 20, 1)); setImmediate(eat); }; eat(); return res.end(); }
  if (url.pathname === '/child') { const child = spawn('sleep', ['1000'], { detached: true, stdio: 'ignore' }); return res.end(String(child.pid)); }
  if (url.pathname === '/deaf') { setInterval(() => {}, 1000); server.close(); server.closeAllConnections(); return; }
  res.end('hello');
}).listen(process.env.PORT, process.env.HOST, function () { globalThis.server = this; });
process.on('SIGTERM', () => { console.log('got TERM'); setTimeout(() => { console.log('done'); process.exit(0); }, 50); });
`;

export class Opened {
  readonly runtime: Runtime & UsageMeter;
  readonly logs: LogStore;
  readonly events: RuntimeEvent[] = [];

  constructor(opened: { runtime: Runtime & UsageMeter; logs: LogStore }) {
    this.runtime = opened.runtime;
    this.logs = opened.logs;
    opened.runtime.onEvent((event) => this.events.push(event));
  }

  of(id: InstanceId): RuntimeEvent[] {
    return this.events.filter((event) => event.id === id);
  }

  address(id: InstanceId): Address {
    const launched = this.of(id).findLast((event) => event.type === 'instanceLaunched');
    const { port, host } = launched as { port: number; host?: string };
    return { port, ...(host === undefined ? {} : { host }) };
  }

  async ready(id: InstanceId): Promise<Address> {
    const next = () => this.of(id).find((event) => event.type !== 'instanceLaunched');
    await vi.waitFor(() => expect(next()).toEqual({ type: 'instanceReady', id }), WAIT);
    return this.address(id);
  }

  async exitReason(id: InstanceId, wait: { timeout: number } = WAIT): Promise<string> {
    await vi.waitFor(() => expect(this.of(id).at(-1)?.type).toBe('instanceExited'), { ...WAIT, ...wait });
    return (this.of(id).at(-1) as { reason: string }).reason;
  }

  async lines(spec: InstanceSpec, source: LogLine['source'] = 'APP'): Promise<string[]> {
    const lines = await this.logs.tail(spec.app.id, 10_000);
    return lines.filter((line) => line.source === source).map((line) => line.text);
  }
}

export function get({ port, host = '127.0.0.1' }: Address, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = request({ host, port, path, agent: false }, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => {
        body += chunk.toString();
      });
      const { statusCode } = response;
      response.on('end', () => (statusCode === 200 ? resolve(body) : reject(new Error(`${statusCode}: ${body}`))));
      response.on('error', reject);
    });
    call.on('error', reject);
    call.end();
  });
}

/** Of the control groups that a process of the instance is in, as this machine has them. */
async function kernelLimits(id: InstanceId): Promise<Record<string, string | boolean>> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const environments = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')));
  const pid = pids[environments.findIndex((environment) => environment.includes(`CF_INSTANCE_GUID=${id}`))];
  const lines = (await readFile(`/proc/${pid}/cgroup`, 'utf8')).trim().split('\n');
  const paths = new Map(
    lines.flatMap((line) => {
      const [, controllers = '', path = ''] = line.split(':');
      return controllers.split(',').map((name) => [name, path] as const);
    }),
  );
  const read = async (controller: string, file: string): Promise<string> => {
    const folder = paths.has(controller) ? `${controller}${paths.get(controller)}` : paths.get('');
    return (await readFile(`/sys/fs/cgroup/${folder}/${file}`, 'utf8')).trim();
  };
  const pidsMax = await read('pids', 'pids.max');
  if (!paths.has('memory')) {
    // Engines turn shares into weights by a formula of their own; the default is 100.
    const hasLargerShare = Number(await read('cpu', 'cpu.weight')) > 100;
    const [memoryBytes, cpuQuota] = [await read('memory', 'memory.max'), await read('cpu', 'cpu.max')];
    return { memoryBytes, pids: pidsMax, hasLargerShare, cpuQuota };
  }
  return {
    memoryBytes: await read('memory', 'memory.limit_in_bytes'),
    pids: pidsMax,
    hasLargerShare: Number(await read('cpu', 'cpu.shares')) > 1024,
    cpuQuota: `${await read('cpu', 'cpu.cfs_quota_us')} ${await read('cpu', 'cpu.cfs_period_us')}`,
  };
}

/** A few of a contract's tests, by their titles; all of them without any. A title that is none fails. */
export function chosenTests(only: readonly string[] | undefined): typeof it {
  if (only === undefined) return it;
  const left = new Set(only);
  const chosen = (title: string, run: () => Promise<void>): void => {
    if (left.delete(title)) it(title, run);
  };
  it('is held to tests that there are', () => expect([...left]).toEqual([]));
  return Object.assign(chosen, { each: () => () => {} }) as unknown as typeof it;
}

export type ShellAnswer = { status: number; out: string; err: string };

/** Runs a command inside an instance of SERVER. */
export async function shell(at: Address, command: string): Promise<ShellAnswer> {
  return JSON.parse(await get(at, `/sh?c=${encodeURIComponent(command)}`));
}

export function specOf(droplet: Digest, changes: Partial<InstanceSpec> = {}): InstanceSpec {
  return {
    id: asInstanceId(`i-${randomUUID()}`),
    app: { id: asAppId(randomUUID()), name: 'shop' },
    process: 'web',
    index: 0,
    release: { id: asReleaseId(randomUUID()), version: 3 },
    restartCount: 0,
    droplet: { digest: droplet, sizeBytes: 0, stack: 'test' },
    command: 'node server.js',
    env: {},
    memoryBytes: 256 * MIB,
    diskBytes: 256 * MIB,
    health: { kind: 'port', path: '/', timeoutMs: 15_000 },
    uris: ['shop.localhost'],
    ...changes,
  };
}

export function describeRuntime(
  name: string,
  makeHarness: () => Promise<RuntimeHarness>,
  { only }: { only?: readonly string[] } = {},
): void {
  describe(name, () => {
    const test = chosenTests(only);
    let harness: RuntimeHarness;
    let opened: Opened | undefined;

    async function open(): Promise<Opened> {
      harness ??= await makeHarness();
      opened = new Opened(await harness.open());
      return opened;
    }
    async function start(
      changes: Partial<InstanceSpec> = {},
      files: Record<string, string> = {},
    ): Promise<InstanceSpec> {
      const digest = await harness.droplet({ 'app/server.js': SERVER, ...files });
      const spec = specOf(digest, { droplet: { digest, sizeBytes: 0, stack: harness.stack }, ...changes });
      opened!.runtime.start(spec);
      return spec;
    }

    afterEach(async () => {
      await opened?.runtime.close({ keepInstances: false });
      opened = undefined;
      await harness?.checkNothingLeft();
      await harness?.dispose();
      harness = undefined as never;
    });

    test('launches an instance, says when it is ready, and it answers', async () => {
      const node = await open();
      const spec = await start();
      const at = await node.ready(spec.id);
      expect(await get(at, '/')).toBe('hello');
      expect(node.of(spec.id)).toEqual([
        { type: 'instanceLaunched', id: spec.id, ...at },
        { type: 'instanceReady', id: spec.id },
      ]);
    });

    test('gives an instance its environment, which the app adds to but cannot replace', async () => {
      const node = await open();
      const spec = await start({ env: { GREETING: "it's\nfine $HOME", VCAP_APPLICATION: 'no' }, index: 2 });
      const at = await node.ready(spec.id);
      const env = JSON.parse(await get(at, '/env'));
      expect(env).toMatchObject({
        GREETING: "it's\nfine $HOME",
        PORT: String(at.port),
        CF_INSTANCE_INDEX: '2',
        MEMORY_LIMIT: '256m',
      });
      expect(JSON.parse(env.VCAP_APPLICATION)).toMatchObject({ application_name: 'shop', instance_id: spec.id });
      expect(env.CF_INSTANCE_GUID).toBe(spec.id);
    });

    test('has an instance listen where its app says, also where else only root may', async () => {
      const node = await open();
      for (const port of [3117, 81]) {
        const spec = await start({ env: { PORT: String(port) } });
        const at = await node.ready(spec.id);
        if (at.host !== undefined) expect(at.port).toBe(port);
        expect(JSON.parse(await get(at, '/env'))).toMatchObject({ PORT: String(at.port) });
      }
    });

    test('finds an instance that listens elsewhere than it was told, says so, and finds it again', async () => {
      const node = await open();
      const spec = await start({ command: 'PORT=3117 node server.js' });
      const at = await node.ready(spec.id);
      expect([at.port, await get(at, '/')]).toEqual([3117, 'hello']);
      expect((await node.lines(spec, 'CELL')).join('\n')).toMatch(/listens on port 3117, not on PORT \d+: requests go/);
      await node.runtime.close({ keepInstances: true });
      const next = await open();
      await next.runtime.adopt();
      expect(await next.ready(spec.id)).toEqual(at);
    });

    test('sources profile scripts in order before the command, which runs in the app folder', async () => {
      const node = await open();
      const spec = await start(
        {
          command: 'echo "$TRAIL in $(pwd) is $HOME" && sleep 0.05',
          health: { kind: 'process', path: '/', timeoutMs: 1000 },
        },
        {
          'profile.d/a.sh': 'export TRAIL="$TRAIL outer"',
          'app/.profile.d/b.sh': 'export TRAIL="$TRAIL inner"',
          'app/.profile': 'export TRAIL="$TRAIL profile"',
        },
      );
      expect(await node.exitReason(spec.id)).toBe('exited with status 0');
      const [line] = await node.lines(spec);
      expect(line).toMatch(/^ outer inner profile in (\S+) is \1$/);
    });

    test('keeps what an instance writes, also a last line without an end', async () => {
      const node = await open();
      const spec = await start();
      const at = await node.ready(spec.id);
      await get(at, '/exit?status=3&last=no%20newline');
      expect(await node.exitReason(spec.id)).toBe('exited with status 3');
      const lines = await node.logs.tail(spec.app.id, 100);
      const said = lines.filter((line) => line.source === 'APP').map(({ stream, text }) => `${stream} ${text}`);
      expect(said.sort()).toEqual(['err hello from err', 'out hello from out', 'out no newline']);
      expect(lines.at(-1)).toMatchObject({ source: 'CELL', text: 'Instance web.0 ended: exited with status 3' });
    });

    test('asks an instance to end and keeps what it says meanwhile', async () => {
      const node = await open();
      // The shell in front must not end before the app has finished.
      const spec = await start({ command: 'cd . ; node server.js ; exit $?' });
      await node.ready(spec.id);
      node.runtime.stop(spec.id, 'scaled down');
      node.runtime.stop(spec.id, 'again');
      expect(await node.exitReason(spec.id)).toBe('scaled down');
      expect((await node.lines(spec)).slice(-2)).toEqual(['got TERM', 'done']);
      expect(node.of(spec.id).filter((event) => event.type === 'instanceExited')).toHaveLength(1);
    });

    test('ends an instance that ignores TERM, and its children, within 11 s', async () => {
      const node = await open();
      const spec = await start({
        command:
          "trap '' TERM; (trap '' TERM; while true; do sleep 0.2; done) & exec node -e \"process.on('SIGTERM',()=>{});require('net').createServer().listen(process.env.PORT)\"",
      });
      await node.ready(spec.id);
      const startMs = performance.now();
      node.runtime.stop(spec.id, 'stopped');
      await node.exitReason(spec.id);
      const tookMs = performance.now() - startMs;
      expect(tookMs).toBeGreaterThan(9_500);
      expect(tookMs).toBeLessThan(11_000);
    });

    test('stops an instance that is not launched yet', async () => {
      const node = await open();
      const spec = await start();
      node.runtime.stop(spec.id, 'not wanted any more');
      expect(await node.exitReason(spec.id)).toBe('not wanted any more');
    });

    test.each([
      ['exits with a status', 'exit 7', 'exited with status 7'],
      ['is killed', 'kill -SEGV $$', 'killed by signal SEGV'],
      ['cannot be found', 'no-such-program', 'exited with status 127'],
    ])('says why when an app %s', async (_, command, reason) => {
      const node = await open();
      const spec = await start({ command });
      expect(await node.exitReason(spec.id)).toBe(reason);
    });

    test('says what is wrong when the droplet is missing or damaged', async () => {
      const node = await open();
      const digest = `sha256:${'0'.repeat(64)}` as Digest;
      const spec = specOf(digest, { droplet: { digest, sizeBytes: 0, stack: harness.stack } });
      node.runtime.start(spec);
      expect(await node.exitReason(spec.id)).toMatch(/does not hold the droplet sha256:0+/);
    });

    test('ends an app that listens on another port, and names both', async () => {
      const node = await open();
      const spec = await start({
        command:
          "echo starting; exec node -e \"require('http').createServer().listen(0,'127.0.0.1',function(){console.log('at '+this.address().port)})\"",
        health: { kind: 'port', path: '/', timeoutMs: 1_500 },
      });
      const reason = await node.exitReason(spec.id);
      const other = (await node.lines(spec))[1]!.replace('at ', '');
      const { port, host } = node.address(spec.id);
      const where =
        host === undefined
          ? `${other} instead: set PORT to the one for requests`
          : `${other} of its loopback only: listen on 0.0.0.0, which HOST says too`;
      expect(reason).toBe(
        `did not listen on PORT ${port} within 1.5 s (it listens on ${where}); last lines: starting | at ${other}`,
      );
    });

    test('ends an app whose health page keeps failing', async () => {
      const node = await open();
      const spec = await start({
        command:
          'exec node -e "require(\'http\').createServer((q,r)=>{r.statusCode=500;r.end()}).listen(process.env.PORT)"',
        health: { kind: 'http', path: '/up', timeoutMs: 1_000 },
      });
      expect(await node.exitReason(spec.id)).toMatch(
        /^GET \/up on PORT \d+ did not succeed within 1 s \(GET \/up answered 500\)/,
      );
    });

    test('tells when a ready instance stops answering', async () => {
      const node = await open();
      const spec = await start();
      const at = await node.ready(spec.id);
      await get(at, '/deaf').catch(() => {});
      await expect
        .poll(() => node.of(spec.id).at(-1), WAIT)
        .toEqual({ type: 'instanceUnhealthy', id: spec.id, reason: `nothing listens on port ${at.port}` });
    });

    test('ends only the instance that runs out of memory', async () => {
      const node = await open();
      const greedy = await start({ memoryBytes: 96 * MIB });
      const modest = await start();
      const greedyAt = await node.ready(greedy.id);
      const modestAt = await node.ready(modest.id);
      await get(greedyAt, '/eat').catch(() => {});
      expect(await node.exitReason(greedy.id)).toBe(
        harness.tellsOutOfMemory === false
          ? 'killed by signal KILL, perhaps out of memory (limit 96 MiB)'
          : 'out of memory (limit 96 MiB)',
      );
      expect(await get(modestAt, '/')).toBe('hello');
    });

    test('keeps an instance within its disk limit: it cannot write more, or is ended', async () => {
      const node = await open();
      const spec = await start({
        diskBytes: 8 * MIB,
        command: 'for i in 1 2 3; do head -c 4000000 /dev/zero >"$TMPDIR/$i"; done; sleep 1000',
        health: { kind: 'process', path: '/', timeoutMs: 1_000 },
      });
      const said = async (): Promise<string> => {
        const last = node.of(spec.id).at(-1);
        return [...(await node.lines(spec)), last?.type === 'instanceExited' ? last.reason : ''].join('\n');
      };
      await expect.poll(said, WAIT).toMatch(/No space left on device|disk limit of 8 MiB exceeded: it used 11\.\d MiB/);
    });

    test('has its kernel limits in force: memory, processes, and of processors a share and a bound', async () => {
      const node = await open();
      const spec = await start({ memoryBytes: 1024 * MIB });
      await node.ready(spec.id);
      expect(await kernelLimits(spec.id)).toEqual({
        memoryBytes: String(1024 * MIB),
        pids: '512',
        hasLargerShare: true,
        // Four processors.
        cpuQuota: '400000 100000',
      });
    });

    test('tells what each instance uses: memory, processors and disk', async () => {
      const node = await open();
      const spec = await start({
        command: `node -e "const kept = Buffer.alloc(64 << 20, 1); setInterval(() => kept.length, 1e6);
require('fs').writeFileSync(process.env.TMPDIR + '/file', Buffer.alloc(8 << 20, 1));
require('net').createServer().listen(process.env.PORT); setTimeout(() => { for (;;); }, 500)"`,
      });
      const idle = await start({ app: spec.app });
      const other = await start();
      for (const { id } of [spec, idle, other]) await node.ready(id);
      await vi.waitFor(async () => {
        const usage = new Map((await node.runtime.usage(spec.app.id)).map((one) => [one.id, one]));
        expect([...usage.keys()].sort()).toEqual([spec.id, idle.id].sort());
        const [busy, quiet] = [usage.get(spec.id)!, usage.get(idle.id)!];
        expect(busy.cpu).toBeGreaterThan(0.3);
        expect(busy.cpu).toBeLessThan(2.5);
        expect(quiet.cpu).toBeLessThan(0.2);
        expect(busy.memoryBytes! - quiet.memoryBytes!).toBeGreaterThan(50 * MIB);
        expect(busy.memoryBytes).toBeLessThan(256 * MIB);
        expect(busy.diskBytes! - quiet.diskBytes!).toBeGreaterThan(7 * MIB);
        expect(quiet.diskBytes).toBeLessThan(2 * MIB);
      }, WAIT);
    });

    test('bounds a fork bomb', async () => {
      const node = await open();
      const bomb = await start({
        command: 'bomb() { bomb | bomb & }; bomb 2>/dev/null; sleep 1000',
        health: { kind: 'process', path: '/', timeoutMs: 1_000 },
      });
      const bystander = await start();
      const at = await node.ready(bystander.id);
      expect(await get(at, '/')).toBe('hello');
      node.runtime.stop(bomb.id, 'enough');
      await node.exitReason(bomb.id);
    });

    test('leaves nothing of an instance behind when its main process ends', async () => {
      const node = await open();
      const spec = await start();
      const at = await node.ready(spec.id);
      await get(at, '/child');
      await get(at, '/exit?status=0');
      expect(await node.exitReason(spec.id)).toBe('exited with status 0');
      // afterEach checks that the detached child has gone.
    });

    test('adopts what an earlier daemon left running, with its logs and its end', async () => {
      const first = await open();
      const spec = await start({ restartCount: 4 });
      const at = await first.ready(spec.id);
      // Both within one second: some engines tell no more of when a line was written.
      await get(at, '/log?text=said%20to%20the%20first');
      await expect.poll(() => first.lines(spec), WAIT).toContain('said to the first');
      await first.runtime.close({ keepInstances: true });
      await get(at, '/log?text=said%20to%20nobody');

      const second = await open();
      expect(await second.runtime.adopt()).toEqual([
        {
          id: spec.id,
          app: spec.app.id,
          process: 'web',
          index: 0,
          release: spec.release.id,
          restartCount: 4,
          memoryBytes: spec.memoryBytes,
          ...at,
        },
      ]);
      await expect.poll(() => second.of(spec.id), WAIT).toEqual([{ type: 'instanceReady', id: spec.id }]);
      await expect.poll(() => second.lines(spec), WAIT).toContain('said to nobody');
      const said = (await second.lines(spec)).filter((line) => line.startsWith('said'));
      expect(said).toEqual(['said to the first', 'said to nobody']);
      expect(await get(at, '/')).toBe('hello');
      await get(at, '/exit?status=9');
      expect(await second.exitReason(spec.id)).toBe('exited with status 9');
    });

    test('learns the end and the last words of an instance that ended while no daemon ran', async () => {
      const first = await open();
      const spec = await start();
      const at = await first.ready(spec.id);
      await first.runtime.close({ keepInstances: true });
      await get(at, '/exit?status=5&last=goodbye');
      await expect.poll(() => get(at, '/').catch(() => 'gone'), WAIT).toBe('gone');

      const second = await open();
      await second.runtime.adopt();
      expect(await second.exitReason(spec.id)).toBe('exited with status 5');
      expect(await second.lines(spec)).toContain('goodbye');
    });

    test('stops everything when it is closed without keeping instances', async () => {
      const node = await open();
      const specs = [await start(), await start()];
      for (const spec of specs) await node.ready(spec.id);
      await node.runtime.close({ keepInstances: false });
      for (const spec of specs) expect(node.of(spec.id).at(-1)?.type).toBe('instanceExited');
    });
  });
}
