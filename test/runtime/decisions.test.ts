// The runtime's pure decisions, on literals: sandbox arguments, environment, reasons, limits, who is told to end.

import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { asAppId, asDigest, asInstanceId, asReleaseId } from '../../crdt/ids.ts';
import { envSetProblem } from '../../crdt/limits.ts';
import type { InstanceSpec } from '../../node/core/types.ts';
import { formatBytes } from '../../node/lib/format-bytes.ts';
import { instanceEnvironment } from '../../node/runtime/environment.ts';
import { RuntimeError } from '../../node/runtime/errors.ts';
import { endingReason, neverHealthyReason, startProblem } from '../../node/runtime/exits.ts';
import { startingProbeMs, watchHealth } from '../../node/runtime/health.ts';
import { PortPool } from '../../node/runtime/process/port-pool.ts';
import { listeners, parseStat } from '../../node/runtime/process-tree.ts';
import {
  accountFiles,
  bwrapArguments,
  dropArguments,
  etcVisible,
  type SandboxView,
  sandboxHostname,
} from '../../node/runtime/sandbox/bwrap.ts';
import { groupSettings } from '../../node/runtime/sandbox/cgroup.ts';
import { cpuQuotaUs, cpuWeight } from '../../node/runtime/sandbox/cpu.ts';
import { encodeLoad, loaderArguments } from '../../node/runtime/sandbox/scripts.ts';
import { UIDS_PER_NODE, UserPool, uidBlock } from '../../node/runtime/sandbox/users.ts';
import { terminationTargets } from '../../node/runtime/termination.ts';

const MIB = 1024 * 1024;

describe('sandbox arguments', () => {
  const view: SandboxView = {
    host: {
      links: [{ path: '/bin', target: 'usr/bin' }],
      folders: ['/lib'],
      etc: ['ssl'],
      nodeBin: '/srv/node/bin',
    },
    user: { kind: 'dropped', uid: 1_880_000_001 },
    hostname: 'My Shop',
    accounts: '/data/i/etc',
    binds: [{ from: '/data/i/home', to: '/home/vcap', writable: true }],
    links: [{ path: '/app', target: 'home/vcap/app' }],
    tmpBytesMax: 1000,
  };
  const text = bwrapArguments(view).join(' ');

  it('are these for a node that runs as root', () => {
    expect(text).toBe(
      [
        '--die-with-parent --new-session --unshare-pid --unshare-ipc --unshare-uts --unshare-cgroup-try --hostname my-shop',
        '--cap-drop ALL --cap-add CAP_SETUID --cap-add CAP_SETGID --cap-add CAP_SETPCAP',
        '--ro-bind /usr /usr --symlink usr/bin /bin --ro-bind /lib /lib',
        '--perms 0755 --dir /etc --ro-bind-try /etc/ssl /etc/ssl',
        '--ro-bind /data/i/etc/passwd /etc/passwd --ro-bind /data/i/etc/group /etc/group --ro-bind /data/i/etc/hosts /etc/hosts',
        '--proc /proc --dev /dev',
        '--perms 1777 --size 1000 --tmpfs /tmp --perms 0755 --dir /var --perms 1777 --size 1000 --tmpfs /var/tmp',
        '--perms 1777 --size 1000 --tmpfs /dev/shm',
        '--perms 0755 --dir /home --perms 0755 --dir /opt --perms 0755 --dir /opt/peer --perms 0755 --dir /opt/peer/node',
        '--ro-bind /srv/node/bin /opt/peer/node/bin --bind /data/i/home /home/vcap --symlink home/vcap/app /app',
        '--remount-ro / --chdir / --clearenv --setenv PATH /usr/bin:/bin --',
      ].join(' '),
    );
    expect(dropArguments(view.user)).toContain('--reuid=1880000001');
  });

  it('map the user, and need no root to give up, for a node that does not', () => {
    const mapped = bwrapArguments({ ...view, user: { kind: 'mapped' } }).join(' ');
    expect(mapped).toContain('--unshare-user --uid 1000 --gid 1000');
    expect(mapped).not.toContain('--cap-add');
    expect(dropArguments({ kind: 'mapped' })).toEqual([]);
  });

  it('name the user inside, and no one of the machine', () => {
    const files = accountFiles({ user: view.user, hostname: 'shop' });
    expect(files.passwd!.match(/^\w+:x:\d+/gm)).toEqual(['root:x:0', 'vcap:x:1880000001', 'nobody:x:65534']);
    expect(files.hosts).toContain('127.0.0.1 localhost shop');
  });

  it('name the services that their app is bound to', () => {
    const hosts = [{ name: 'db.service.internal', address: '198.18.0.7' }];
    const files = accountFiles({ user: view.user, hostname: 'shop', hosts });
    expect(files.hosts!.split('\n')).toContain('198.18.0.7 db.service.internal');
  });

  it('leave secrets of /etc out', () => {
    const names = [
      'shadow',
      'passwd',
      'ssh',
      'ssl',
      'machine-id',
      'resolv.conf',
      'java-17-openjdk',
      'sudoers',
      'krb5.conf',
    ];
    expect(etcVisible(names)).toEqual(['java-17-openjdk', 'resolv.conf', 'ssl']);
  });

  it.each([
    ['Shop & Co.', 'shop-co'],
    ['---', 'app'],
    ['x'.repeat(100), 'x'.repeat(63)],
  ])('make a host name of %j', (name, hostname) => {
    expect(sandboxHostname(name)).toBe(hostname);
  });
});

describe('loader', () => {
  it('receives any command and environment unchanged', () => {
    const word = fc.string({ unit: 'grapheme', maxLength: 40 }).map((text) => text.replaceAll('\0', '').toWellFormed());
    const limits = { pidsMax: 4096, filesMax: 1024, fileBytesMax: 1e9 };
    const [command, ...argv] = loaderArguments(limits);
    fc.assert(
      fc.property(fc.array(word, { maxLength: 5 }), word, (words, value) => {
        const script = 'printf "%s\\0" "$@" "$VALUE"';
        const load = encodeLoad({ cwd: '/', argv: ['bash', '-c', script, 'sh', ...words], env: { VALUE: value } });
        // The load comes on descriptor 3; here it is standard input.
        const output = execFileSync('bash', ['-c', 'exec 3<&0 </dev/null "$@"', 'sh', command!, ...argv], {
          input: load,
        });
        expect(output.toString()).toBe([...words, value, ''].join('\0'));
      }),
      { numRuns: 25 },
    );
  });
});

describe('environment of an instance', () => {
  const spec: InstanceSpec = {
    id: asInstanceId('i-1'),
    app: { id: asAppId('a-1'), name: 'shop' },
    process: 'web',
    index: 2,
    release: { id: asReleaseId('r-1'), version: 7 },
    restartCount: 0,
    droplet: { digest: asDigest('sha256:0'), sizeBytes: 1, stack: 's' },
    command: 'run',
    env: { COLOUR: 'blue', PORT: '1', VCAP_APPLICATION: '{}', LANG: 'de_DE.UTF-8', VCAP_SERVICES: '{"postgres":[]}' },
    memoryBytes: 256 * MIB,
    diskBytes: 1024 * MIB,
    health: { kind: 'port', path: '/', timeoutMs: 1 },
    uris: ['shop.localhost'],
  };
  const { VCAP_APPLICATION, ...env } = instanceEnvironment(spec, {
    port: 20_001,
    host: '127.0.0.1',
    listen: '127.0.0.1',
    home: '/home/vcap',
    nodeBin: '/opt/peer/node/bin',
  });

  it('is this', () => {
    expect(env).toEqual({
      HOME: '/home/vcap/app',
      TMPDIR: '/home/vcap/tmp',
      USER: 'vcap',
      LANG: 'de_DE.UTF-8',
      PATH: '/usr/local/bin:/usr/bin:/bin:/opt/peer/node/bin',
      HOST: '127.0.0.1',
      MEMORY_LIMIT: '256m',
      COLOUR: 'blue',
      VCAP_SERVICES: '{"postgres":[]}',
      PORT: '20001',
      DYNO: 'web.3',
      INSTANCE_INDEX: '2',
      CF_INSTANCE_INDEX: '2',
      CF_INSTANCE_GUID: 'i-1',
      CF_INSTANCE_IP: '127.0.0.1',
      CF_INSTANCE_INTERNAL_IP: '127.0.0.1',
      CF_INSTANCE_PORT: '20001',
      CF_INSTANCE_ADDR: '127.0.0.1:20001',
      CF_INSTANCE_PORTS: '[{"external":20001,"internal":20001}]',
      VCAP_APP_HOST: '127.0.0.1',
      VCAP_APP_PORT: '20001',
    });
  });

  it('may say all that the platform says beside what names the instance, which nobody may set', () => {
    const mine = (keys: string[]) => Object.fromEntries(keys.map((key) => [key, 'mine']));
    const place = { port: 20_001, host: '127.0.0.1', home: '/home/vcap', nodeBin: '/n' };
    const bare = Object.keys(instanceEnvironment({ ...spec, env: {} }, place));
    const kept = Object.entries(instanceEnvironment({ ...spec, env: mine(bare) }, place));
    const always = kept.filter(([, value]) => value !== 'mine').map(([key]) => key);
    // A port that is none is refused before it comes here, and one that is, is its port.
    expect(always).toEqual(bare.filter((key) => key === 'PORT' || envSetProblem(key) !== undefined));
    expect(always).not.toContain('HOME');
  });

  it('describes the app as JSON', () => {
    expect(JSON.parse(VCAP_APPLICATION!)).toMatchObject({
      application_id: 'a-1',
      application_name: 'shop',
      application_uris: ['shop.localhost'],
      application_version: 'r-1',
      process_type: 'web',
      instance_id: 'i-1',
      instance_index: 2,
      limits: { mem: 256, disk: 1024, fds: 16_384 },
      host: '127.0.0.1',
      port: 20_001,
      space_name: 'default',
      organization_name: 'peer',
    });
  });
});

describe('reasons', () => {
  const ending = { stopReason: undefined, status: 0, outOfMemory: false, memoryBytes: 64 * MIB, diskBytes: 1024 * MIB };

  it.each([
    [{ ...ending, status: 1 }, 'exited with status 1'],
    [{ ...ending, status: 139 }, 'killed by signal SEGV'],
    [{ ...ending, status: 222 }, 'exited with status 222'],
    [{ ...ending, status: 137, outOfMemory: true }, 'out of memory (limit 64 MiB)'],
    [
      { ...ending, status: 137, outOfMemory: 'untold' as const },
      'killed by signal KILL, perhaps out of memory (limit 64 MiB)',
    ],
    [{ ...ending, status: 3, outOfMemory: 'untold' as const }, 'exited with status 3'],
    [{ ...ending, status: 153 }, 'disk limit of 1 GiB exceeded by a single file'],
    [{ ...ending, status: undefined }, 'its supervising process was killed from outside'],
    [{ ...ending, status: 143, stopReason: 'scaled down' }, 'scaled down'],
  ])('%j: %s', (given, reason) => {
    expect(endingReason(given)).toBe(reason);
  });

  it.each([
    [new RuntimeError('no_free_port', 'no port is free'), 'no port is free'],
    [
      Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' }),
      "this node's disk is full: free some disk space",
    ],
    [new Error('EMFILE: too many open files'), 'could not be started: EMFILE: too many open files'],
  ])('say why nothing was started (%#)', (error, reason) => {
    expect(startProblem(error)).toBe(reason);
  });

  it('tell a wrong port from a failing page and from silence', () => {
    const found = {
      kind: 'http' as const,
      path: '/up',
      port: 20_012,
      timeoutMs: 60_000,
      lastProblem: 'GET /up answered 500',
      listening: [{ port: 20_012, onLoopback: false, isIpv6: false }],
      ownNetwork: false,
      lastLines: [],
    };
    expect(neverHealthyReason(found)).toBe('GET /up on PORT 20012 did not succeed within 60 s (GET /up answered 500)');
    expect(
      neverHealthyReason({
        ...found,
        kind: 'port',
        listening: [{ port: 3000, onLoopback: false, isIpv6: false }],
        lastLines: ['a', 'b'],
        lastProblem: 'nothing listens on port 20012',
      }),
    ).toBe(
      'did not listen on PORT 20012 within 60 s (it listens on 3000 instead: set PORT to the one for requests); ' +
        'last lines: a | b',
    );
    const silent = { ...found, lastProblem: 'nothing listens on port 20012' };
    expect(neverHealthyReason({ ...silent, listening: [] })).toBe('did not listen on PORT 20012 within 60 s');
    const byIpv6 = { ...silent, listening: [{ port: 20_012, onLoopback: false, isIpv6: true }] };
    expect(neverHealthyReason(byIpv6)).toBe('listened on PORT 20012 for IPv6 only within 60 s: listen on 0.0.0.0');
    expect(neverHealthyReason(silent)).toBe(
      'GET /up on PORT 20012 did not succeed within 60 s (nothing listens on port 20012)',
    );
    const elsewhere = { ...silent, ownNetwork: true, listening: [{ port: 3000, onLoopback: true, isIpv6: false }] };
    expect(neverHealthyReason(elsewhere)).toBe(
      'did not listen on PORT 20012 within 60 s (it listens on 3000 of its loopback only: listen on 0.0.0.0, which ' +
        'HOST says too)',
    );
    expect(neverHealthyReason({ ...found, listening: [{ port: 3000, onLoopback: false, isIpv6: false }] })).toBe(
      'GET /up on port 3000 did not succeed within 60 s (GET /up answered 500)',
    );
    const hidden = { ...found, listening: [{ port: 20012, onLoopback: true, isIpv6: false }] };
    expect(neverHealthyReason({ ...hidden, ownNetwork: true })).toBe(
      'listened on PORT 20012 of its loopback only within 60 s: listen on 0.0.0.0, which HOST says too',
    );
    expect(neverHealthyReason(hidden)).toMatch(/^GET/);
  });

  it.each([
    [1536, '1.5 KiB'],
    [64 * MIB, '64 MiB'],
    [2 * 1024 * MIB, '2 GiB'],
    [12, '12 B'],
  ])('write %i bytes as %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });
});

describe('control groups', () => {
  it.each([
    [64 * MIB, 25],
    [256 * MIB, 100],
    [1024 * MIB, 400],
    [1, 10],
    [1024 * 1024 * MIB, 1_000],
  ])('give %i bytes of memory a processor weight of %i', (bytes, weight) => {
    expect(cpuWeight(bytes)).toBe(weight);
  });

  it.each([
    [64 * MIB, 200_000],
    [512 * MIB, 200_000],
    [1024 * MIB, 400_000],
    [1300 * MIB, 507_813],
  ])('give %i bytes of memory no more than %i µs of processors in each tenth of a second', (bytes, quotaUs) => {
    expect(cpuQuotaUs(bytes)).toBe(quotaUs);
  });

  it('have these settings', () => {
    const limits = { memoryBytes: 256 * MIB, pidsMax: 512 };
    expect(groupSettings(1, limits)).toEqual({
      memory: [
        { file: 'memory.limit_in_bytes', value: '268435456' },
        { file: 'memory.memsw.limit_in_bytes', value: '268435456', optional: true },
      ],
      pids: [{ file: 'pids.max', value: '512' }],
      cpu: [
        { file: 'cpu.shares', value: '1024', optional: true },
        { file: 'cpu.cfs_period_us', value: '100000', optional: true },
        { file: 'cpu.cfs_quota_us', value: '200000', optional: true },
      ],
    });
    expect(groupSettings(2, limits)['']!.map(({ file, value }) => `${file}=${value}`)).toEqual([
      'memory.max=268435456',
      'memory.swap.max=0',
      'memory.oom.group=1',
      'pids.max=512',
      'cpu.weight=100',
      'cpu.max=200000 100000',
    ]);
  });
});

describe('termination', () => {
  const info = (pid: number, parent: number, name: string) => ({ pid, parent, name, startTicks: String(pid) });
  const sandbox = [info(2, 1, 'bwrap'), info(3, 2, 'bwrap')];
  const targets = (inside: ReturnType<typeof info>[], signalled: number[] = []) =>
    terminationTargets({ shim: 1, processes: [...sandbox, ...inside], confined: true, signalled: new Set(signalled) });

  it.each([
    ['an app alone', [info(10, 3, 'node')], [], [10]],
    [
      'an app with workers and an orphan',
      [info(10, 3, 'ruby'), info(11, 10, 'ruby'), info(12, 3, 'sh')],
      [],
      [10, 11, 12],
    ],
    ['the child of a waiting shell, not the shell', [info(10, 3, 'bash'), info(11, 10, 'node')], [], [11]],
    ['nobody while the child finishes', [info(10, 3, 'bash'), info(11, 10, 'node')], [11], []],
    ['the shell once its child has gone', [info(10, 3, 'bash')], [11], [10]],
    ['a shell that starts its child again, and the child', [info(10, 3, 'bash'), info(12, 10, 'node')], [11], [10, 12]],
    ['a shell without children', [info(10, 3, 'sh')], [], [10]],
    ['nobody before anything runs', [], [], []],
  ])('tells %s', (_, inside, signalled, expected) => {
    expect(targets(inside, signalled).sort((a, b) => a - b)).toEqual(expected);
  });
});

describe('health schedule', () => {
  it.each([
    [0, 100],
    [1_999, 100],
    [2_000, 250],
    [10_000, 500],
  ])('looks at a starting instance of %i ms again after %i ms', (ageMs, pauseMs) => {
    expect(startingProbeMs(ageMs)).toBe(pauseMs);
  });

  it('turns unhealthy after three failures in a row and ready at the first success', async () => {
    const answers = [undefined, 'no', undefined, 'no', 'no', 'no', 'no', undefined];
    const seen: string[] = [];
    const done = Promise.withResolvers<void>();
    const watch = watchHealth({
      health: { kind: 'port', path: '/', timeoutMs: 1_000 },
      host: '127.0.0.1',
      port: 1,
      readyProbeMs: 1,
      probe: async () => {
        if (answers.length === 0) done.resolve();
        return answers.shift();
      },
      listener: {
        onReady: () => seen.push('ready'),
        onUnhealthy: (reason) => seen.push(`unhealthy: ${reason}`),
        onTimeout: () => seen.push('timeout'),
      },
    });
    await done.promise;
    watch.stop();
    expect(seen).toEqual(['ready', 'unhealthy: no', 'ready']);
  });
});

describe('processes', () => {
  it('are parsed whatever their name holds', () => {
    const line = `12 (a) b (c) S 3 ${Array.from({ length: 17 }, (_, index) => index).join(' ')} 4711 x`;
    expect(parseStat(line)).toEqual({ pid: 12, parent: 3, name: 'a) b (c', startTicks: '4711' });
    expect(parseStat('')).toBeUndefined();
  });

  it('listen on the ports of their sockets', () => {
    const table = `  sl  local_address rem_address   st
   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 555 1 x
   1: 0100007F:0BB9 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 556 1 x`;
    expect(listeners(table)).toEqual([{ inode: '555', port: 3000, onLoopback: true }]);
  });
});

describe('pools', () => {
  it('give no user and no port twice while it is held', async () => {
    const users = new UserPool('node-a');
    users.hold(users.stagingUid + 2);
    expect([users.take(), users.take()]).toEqual([users.stagingUid + 1, users.stagingUid + 3]);
    users.release(users.stagingUid + 1);
    expect(users.take()).toBe(users.stagingUid + 1);
    const ports = new PortPool(0.999_999);
    const taken = await Promise.all(Array.from({ length: 20 }, () => ports.take()));
    expect(new Set(taken).size).toBe(20);
  });

  it('keep the users of a node in its own block, out of reach of other ranges', () => {
    fc.assert(
      fc.property(fc.string(), (node) => {
        const first = uidBlock(node);
        expect(first).toBeGreaterThanOrEqual(1_880_000_000);
        expect(first + UIDS_PER_NODE).toBeLessThan(2 ** 31);
      }),
    );
  });
});
