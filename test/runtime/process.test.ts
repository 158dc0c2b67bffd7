// The process runtime: the contract, then what only it promises about its sandbox.

import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { asNodeId } from '../../crdt/ids.ts';
import { prepareIsolation } from '../../node/runtime/sandbox/isolation.ts';
import { type ProcessHarness, processesNaming, processHarness, silent } from './harness.ts';
import { type Address, describeRuntime, Opened, SERVER, shell, specOf } from './runtime.contract.ts';

describeRuntime('process runtime', processHarness);

describe('process runtime › sandbox', () => {
  let harness: ProcessHarness;
  let node: Opened;
  let at: Address;

  beforeAll(async () => {
    harness = await processHarness();
    await writeFile(join(harness.dataDir, 'secret'), 'the cluster key', { mode: 0o644 });
    node = new Opened(await harness.open());
    const spec = specOf(await harness.droplet({ 'app/server.js': SERVER }), { env: { TOKEN: 'hush-hush' } });
    node.runtime.start(spec);
    at = await node.ready(spec.id);
  });
  afterAll(async () => {
    await node.runtime.close({ keepInstances: false });
    await harness.checkNothingLeft();
    await harness.dispose();
  });

  it.each([
    ['the data directory', (dir: string) => `cat ${dir}/secret`],
    ["root's home", () => 'ls /root'],
    ["the machine's password file", () => 'cat /etc/shadow'],
    ['the log of the machine', () => 'ls /var/log'],
    ['sockets of services', () => 'ls /run'],
  ])('hides %s', async (_, command) => {
    const { status, err } = await shell(at, command(harness.dataDir));
    expect(status).not.toBe(0);
    expect(err).toMatch(/No such file|Permission denied/);
  });

  it.each([
    ['/usr', 'touch /usr/x'],
    ['the root', 'touch /x'],
    ['/etc', 'touch /etc/x'],
    ['the Node it was given', 'touch /opt/peer/node/bin/x'],
    ['kernel settings', 'echo x >/proc/sys/kernel/hostname'],
  ])('does not let it write to %s', async (_, command) => {
    const { status, err } = await shell(at, command);
    expect(status).not.toBe(0);
    expect(err).toMatch(/Read-only|Permission denied/);
  });

  it('lets it write to its home, /tmp, and /dev/shm', async () => {
    const { status, err } = await shell(
      at,
      'for f in ~/a /app/b $TMPDIR/c /tmp/d /var/tmp/e /dev/shm/f; do echo x >$f || exit 1; done; test "$(cat ~/b)" = x',
    );
    expect(err).toBe('');
    expect(status).toBe(0);
  });

  it('lets it open /dev/stdout and /dev/stderr anew', async () => {
    const spec = specOf(await harness.droplet({}), { command: 'echo one >/dev/stdout; echo two >>/dev/stderr' });
    node.runtime.start(spec);
    await node.exitReason(spec.id);
    expect((await node.lines(spec)).sort()).toEqual(['one', 'two']);
  });

  it('shows it only its own processes, and as a user without powers', async () => {
    const { out } = await shell(
      at,
      'ls /proc | grep -c "^[0-9]"; whoami; grep -E "^(CapEff|CapBnd|NoNewPrivs)" /proc/self/status; kill -9 1 || echo refused',
    );
    const [processes, user, effective, bound, noNew, refused] = out.trim().split('\n');
    expect(Number(processes)).toBeLessThan(10);
    expect([user, effective, bound, noNew, refused]).toEqual([
      'vcap',
      'CapEff:\t0000000000000000',
      'CapBnd:\t0000000000000000',
      'NoNewPrivs:\t1',
      'refused',
    ]);
  });

  it('keeps its environment out of the command lines and files of the machine', async () => {
    expect(await processesNaming('hush-hush')).toEqual([]);
    const [instance] = await readdir(join(harness.dataDir, 'instances'));
    const record = join(harness.dataDir, 'instances', instance!, 'instance.json');
    expect(await readFile(record, 'utf8')).not.toContain('hush-hush');
    expect((await stat(record)).mode & 0o777).toBe(0o600);
  });

  it('gives two instances different users', async () => {
    const other = specOf(await harness.droplet({ 'app/server.js': SERVER }));
    node.runtime.start(other);
    const otherAt = await node.ready(other.id);
    const uids = await Promise.all([at, otherAt].map(async (one) => (await shell(one, 'id -u')).out));
    expect(uids[0]).not.toBe(uids[1]);
  });
});

describe('process runtime › set-up', () => {
  it('refuses without bubblewrap, and says what to do', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'peer-runtime-'));
    const options = { dataDir, nodeId: asNodeId('test-without'), log: silent, searchPath: ['/nonexistent'] };
    await expect(prepareIsolation(options)).rejects.toMatchObject({
      code: 'sandbox_missing',
      message: expect.stringMatching(/install it .* or pass --insecure-process-runtime/),
    });
    await rm(dataDir, { recursive: true });
  });
});

describe('process runtime › without writable control groups', () => {
  it('ends an instance that takes more memory than it may, by sampling', async () => {
    const harness = await processHarness({ groups: false });
    const node = new Opened(await harness.open());
    const spec = specOf(await harness.droplet({ 'app/server.js': SERVER }), {
      command: 'exec node -e "const kept=[]; setInterval(() => kept.push(Buffer.alloc(4<<20, 1)), 20)"',
      memoryBytes: 128 * 1024 * 1024,
      health: { kind: 'process', path: '/', timeoutMs: 1_000 },
    });
    node.runtime.start(spec);
    expect(await node.exitReason(spec.id)).toBe('out of memory (limit 128 MiB)');
    await node.runtime.close({ keepInstances: false });
    await harness.checkNothingLeft();
    await harness.dispose();
  });
});

describe('process runtime › insecure', () => {
  it('runs apps without a sandbox when told to, and still ends all they started', async () => {
    const harness = await processHarness({ insecure: true });
    const node = new Opened(await harness.open());
    const spec = specOf(await harness.droplet({ 'app/server.js': SERVER }), { command: 'sleep 1000 & node server.js' });
    node.runtime.start(spec);
    const at = await node.ready(spec.id);
    const { out } = await shell(at, 'echo $HOME; ls');
    expect(out).toBe(`${harness.dataDir}/instances/${spec.id}/home/app\nserver.js\n`);
    node.runtime.stop(spec.id, 'over');
    expect(await node.exitReason(spec.id)).toBe('over');
    expect(await node.lines(spec)).toContain('done');
    await harness.checkNothingLeft();
    await harness.dispose();
  });
});
