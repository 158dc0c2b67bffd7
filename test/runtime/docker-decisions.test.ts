// What the docker runtime decides without an engine: where one is looked for, what is asked of it, what its log says.

import type { ImageInspectInfo } from 'dockerode';
import { describe, expect, it } from 'vitest';
import { asAppId, asInstanceId, asReleaseId } from '../../crdt/ids.ts';
import { dropletContainer, imageContainer } from '../../node/runtime/docker/container.ts';
import { socketCandidates } from '../../node/runtime/docker/engine.ts';
import {
  FRAME_BYTES_MAX,
  FrameSplitter,
  formatPosition,
  type LogPosition,
  parsePosition,
  sinceOf,
  Unread,
} from '../../node/runtime/docker/frames.ts';
import { exposedPort, ownCommand, ownUser, volumes } from '../../node/runtime/docker/image-config.ts';
import { layersOf, mountArguments } from '../../node/runtime/docker/image-root.ts';
import { bridgeName, bridgePrefix, subnet } from '../../node/runtime/docker/networks.ts';
import { resolversOf } from '../../node/runtime/docker/policy.ts';
import type { InstanceRecord } from '../../node/runtime/instance-folder.ts';

const MIB = 1024 * 1024;
const record: InstanceRecord = {
  version: 1,
  id: asInstanceId('i-1'),
  app: { id: asAppId('app-1'), name: 'Shop' },
  process: 'web',
  index: 0,
  release: { id: asReleaseId('r-1'), version: 1 },
  restartCount: 0,
  memoryBytes: 256 * MIB,
  diskBytes: 512 * MIB,
  health: { kind: 'port', path: '/', timeoutMs: 1_000 },
  port: 8080,
  uid: 1_880_000_001,
  boot: '',
};
const plan = {
  node: 'n-1',
  record,
  network: 'peer-net',
  env: { A: 'b\0c', 'no name': 'x' },
  hosts: [{ name: 'db.service.internal', address: '198.18.0.7' }],
  callFilter: '{}',
  ownDisk: true,
  volumes: [],
};
const image = (config: object): ImageInspectInfo => ({ Id: 'sha256:1', Config: config }) as ImageInspectInfo;

describe('the engine', () => {
  it.each([
    [{}, ['/var/run/docker.sock', '/run/podman/podman.sock']],
    [
      { XDG_RUNTIME_DIR: '/run/user/7' },
      ['/var/run/docker.sock', '/run/podman/podman.sock', '/run/user/7/podman/podman.sock'],
    ],
    [{ DOCKER_HOST: 'unix:///my.sock' }, ['/my.sock']],
    // Another machine's files and network are not this one's.
    [{ DOCKER_HOST: 'tcp://10.0.0.1:2375' }, []],
  ])('is looked for, with %o, at %o', (env, sockets) => {
    expect(socketCandidates(env)).toEqual(sockets);
  });
});

describe('a container', () => {
  const droplet = dropletContainer({
    ...plan,
    image: 'sha256:stack',
    command: './start',
    home: '/h',
    accounts: '/a',
    nodeBin: '/n',
  });

  it('has limits on all it can use up, no powers, and nobody else on its network', () => {
    expect(droplet.HostConfig).toMatchObject({
      Memory: 256 * MIB,
      MemorySwap: 256 * MIB,
      PidsLimit: 512,
      CpuShares: 1024,
      CpuPeriod: 100_000,
      CpuQuota: 200_000,
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges', 'seccomp={}'],
      NetworkMode: 'peer-net',
      ReadonlyRootfs: true,
      Binds: ['/h:/home/vcap:rw', '/n:/opt/peer/node/bin:ro', '/a/passwd:/etc/passwd:ro', '/a/group:/etc/group:ro'],
    });
    expect(droplet.User).toBe('1880000001:1880000001');
    expect(droplet.HostConfig?.PortBindings).toBeUndefined();
    expect(droplet.HostConfig?.Privileged).toBeUndefined();
  });

  // Where the kernel counts by user, a bomb costs least; but images of one user would take each other's processes.
  it("counts an own user's processes by user, and those of a user that images share by container alone", () => {
    const processes = (user: string) =>
      imageContainer({ ...plan, image: image({ User: user }), root: undefined, command: undefined })
        .HostConfig?.Ulimits?.filter(({ Name }) => Name === 'nproc')
        .map(({ Hard }) => Hard);
    expect(droplet.HostConfig?.Ulimits).toContainEqual({ Name: 'nproc', Soft: 512, Hard: 512 });
    expect([processes(''), processes('1000')]).toEqual([[512], [16_384]]);
  });

  it('is told its environment as far as it can be said', () => {
    expect(droplet.Env).toEqual(['A=b']);
  });

  it('knows the names of the services that its app is bound to', () => {
    expect(droplet.HostConfig?.ExtraHosts).toEqual(['db.service.internal:198.18.0.7']);
  });

  it('carries what adoption needs, and no secret', () => {
    expect(droplet.Labels).toMatchObject({ 'peer.node': 'n-1', 'peer.instance': 'i-1' });
    expect(JSON.stringify(droplet.Labels)).not.toContain('"A"');
  });

  it('of an image keeps its entry point unless a command is given, and has its volumes in memory', () => {
    const shop = image({ Volumes: { '/data': {} }, User: '1000' });
    const own = imageContainer({ ...plan, image: shop, root: undefined, command: undefined });
    expect([own.Entrypoint, own.Cmd, own.User]).toEqual([undefined, undefined, '1000:1000']);
    expect(Object.keys(own.HostConfig?.Tmpfs ?? {})).toEqual(['/data', '/tmp', '/var/tmp']);
    const told = imageContainer({ ...plan, image: shop, root: undefined, command: 'exit 3' });
    expect([told.Entrypoint, told.Cmd]).toEqual([['/bin/sh', '-c'], ['exit 3']]);
  });

  it('has volumes in the place of what an image or its root has there', () => {
    const volume = { from: '/v/data', to: '/data', writable: true };
    const root = { path: '/i/root', folders: ['data', 'etc'] };
    const shop = image({ Volumes: { '/data/': {}, '/cache': {} } });
    const { HostConfig } = imageContainer({ ...plan, image: shop, root, command: undefined, volumes: [volume] });
    expect(HostConfig?.Mounts?.map(({ Source, Target }) => `${Source} ${Target}`)).toEqual([
      '/i/root/etc /etc',
      '/v/data /data',
    ]);
    expect(Object.keys(HostConfig?.Tmpfs ?? {})).toEqual(['/cache', '/tmp', '/var/tmp']);
  });

  it("of an image has a root that ends with its disk limit in place of the engine's, which it cannot write to", () => {
    const root = { path: '/i/root', folders: ['data', 'etc', 'tmp', 'var'] };
    const { HostConfig } = imageContainer({
      ...plan,
      image: image({ Volumes: { '/data': {} } }),
      root,
      command: undefined,
    });
    expect(HostConfig?.ReadonlyRootfs).toBe(true);
    // What is in memory has its place there already.
    expect(HostConfig?.Mounts?.map(({ Source, Target }) => `${Source} ${Target}`)).toEqual([
      '/i/root/etc /etc',
      '/i/root/var /var',
    ]);
  });
});

describe("an image's root", () => {
  const driven = (Name: string, Data: object) => layersOf({ GraphDriver: { Name, Data } } as ImageInspectInfo);

  it.each([
    ['one layer', { UpperDir: '/o/a/diff' }, ['/o/a/diff']],
    ['several', { UpperDir: '/o/c/diff', LowerDir: '/o/b/diff:/o/a/diff' }, ['/o/c/diff', '/o/b/diff', '/o/a/diff']],
    ['a layer that is no path', { UpperDir: '/o/c/diff', LowerDir: 'b' }, undefined],
    ['more than an engine stacks', { UpperDir: '/o', LowerDir: Array(128).fill('/o').join(':') }, undefined],
    ['none that it tells of', {}, undefined],
  ])('has %s', (_, data, layers) => {
    expect(driven('overlay2', data)).toEqual(layers);
  });

  it('is known only where the engine keeps layers as folders', () => {
    expect(driven('overlay', { UpperDir: '/o/a/diff' })).toEqual(['/o/a/diff']);
    expect(driven('btrfs', { UpperDir: '/o/a/diff' })).toBeUndefined();
    expect(layersOf({} as ImageInspectInfo)).toBeUndefined();
  });

  it('is mounted with names that fit into a page, however many layers it has', () => {
    expect(mountArguments({ home: 'home', root: 'root', layers: 2 }).join(' ')).toBe(
      'mount -t overlay -o nosuid,nodev,lowerdir=l/0:l/1,upperdir=home/upper,workdir=home/work overlay root',
    );
    expect(mountArguments({ home: 'home', root: 'root', layers: 128 }).join(' ').length).toBeLessThan(1024);
  });
});

describe("an image's own configuration", () => {
  it.each([
    ['', undefined],
    ['root', undefined],
    ['0', undefined],
    ['0:1000', undefined],
    ['1000:0', undefined],
    ['00', undefined],
    // Its own files say who that is.
    ['node', undefined],
    ['1000', '1000:1000'],
    ['1000:1001', '1000:1001'],
  ])('user %j becomes %j', (User, user) => {
    expect(ownUser(image({ User }))).toBe(user);
  });

  it('port: the lowest of TCP', () => {
    expect(exposedPort(image({ ExposedPorts: { '9000/tcp': {}, '80/udp': {}, '8081': {}, '99999/tcp': {} } }))).toBe(
      8081,
    );
    expect(exposedPort(image({}))).toBeUndefined();
  });

  it('command: the entry point with its arguments, as a shell would take them', () => {
    expect(ownCommand(image({ Entrypoint: ['/bin/app'], Cmd: ['--name', "it's"] }))).toBe("/bin/app --name 'it'\\''s'");
    expect(ownCommand(image({ Entrypoint: null, Cmd: [] }))).toBeUndefined();
  });

  it('volumes: paths that can be mounted, and no more than a few', () => {
    expect(volumes(image({ Volumes: { '/data': {}, '/': {}, rel: {}, '/a,b': {}, '/x/../y': {} } }))).toEqual([
      '/data',
    ]);
    const many = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`/v${index}`, {}]));
    expect(volumes(image({ Volumes: many }))).toHaveLength(16);
  });
});

describe("the engine's log", () => {
  const frame = (stream: 1 | 2, text: string): Buffer => {
    const head = Buffer.alloc(8);
    head[0] = stream;
    head.writeUInt32BE(Buffer.byteLength(text), 4);
    return Buffer.concat([head, Buffer.from(text)]);
  };

  it('is taken apart wherever it is cut', () => {
    const whole = Buffer.concat([
      frame(1, '2026-01-02T03:04:05.5Z hello\n'),
      frame(2, '2026-01-02T04:04:05.000000001+01:00 oh\n'),
    ]);
    for (let cut = 0; cut <= whole.length; cut++) {
      const splitter = new FrameSplitter();
      const frames = [...splitter.push(whole.subarray(0, cut)), ...splitter.push(whole.subarray(cut))];
      expect(frames.map(({ stream, at, bytes }) => [stream, at, bytes.toString()])).toEqual([
        ['out', '2026-01-02T03:04:05.500000000Z', 'hello\n'],
        ['err', '2026-01-02T03:04:05.000000001Z', 'oh\n'],
      ]);
    }
  });

  it('is refused when it claims a frame that no engine sends', () => {
    const head = Buffer.alloc(8);
    head.writeUInt32BE(FRAME_BYTES_MAX + 1, 4);
    expect(() => [...new FrameSplitter().push(head)]).toThrow(/log frame/);
  });

  it('is asked for from a time on, exactly', () => {
    expect(sinceOf('2026-01-02T03:04:05.000000001Z')).toBe('1767323045.000000001');
  });

  it('is read on after what was read, wherever the reader stopped, also when an engine tells whole seconds only', () => {
    const log = [5, 5, 6, 6, 6, 8].map((second, index) => frame(1, `2026-01-02T03:04:0${second}Z ${index}\n`));
    const frames = [...new FrameSplitter().push(Buffer.concat(log))];
    /** As an engine answers that is asked from there on: its own times are exact, so the whole second comes again. */
    const readOn = (from: LogPosition | undefined, stopAfter: number): { read: number[]; position: LogPosition } => {
      const unread = new Unread(from);
      const read: number[] = [];
      for (const each of frames) {
        if (read.length === stopAfter || (from !== undefined && each.at < from.at)) continue;
        if (unread.isNew(each)) read.push(Number(each.bytes.toString()));
      }
      return { read, position: unread.position! };
    };
    for (let first = 0; first <= log.length; first++) {
      for (let second = 0; second <= log.length - first; second++) {
        const one = readOn(undefined, first);
        const two = readOn(one.position, second);
        const rest = readOn(two.position, Number.POSITIVE_INFINITY);
        expect([...one.read, ...two.read, ...rest.read]).toEqual([0, 1, 2, 3, 4, 5]);
      }
    }
  });

  it('is read on from a position that was kept as text, and from its start when that is rubbish', () => {
    const position = { at: '2026-01-02T03:04:05.000000000Z', frames: 3 };
    expect(parsePosition(formatPosition(position))).toEqual(position);
    for (const text of ['', '2026', '2026Z x', '\0\0\0', `${'9'.repeat(40)}`])
      expect(parsePosition(text)).toBeUndefined();
  });
});

describe('networks', () => {
  it('have names that fit an interface, and subnets within their pool', () => {
    expect(bridgeName('node', asAppId('app'))).toMatch(/^pr[0-9a-f]{13}$/);
    expect(bridgeName('node', asAppId('app')).startsWith(bridgePrefix('node'))).toBe(true);
    expect([subnet(0), subnet(1), subnet(1023), subnet(1024)]).toEqual([
      '198.19.0.0/26',
      '198.19.0.64/26',
      '198.19.255.192/26',
      '198.19.0.0/26',
    ]);
  });

  it("know the machine's name servers", () => {
    const text =
      '# nameserver 9.9.9.9\nnameserver 192.168.1.1\n nameserver  10.0.0.1 \nnameserver fe80::1%eth0\noptions ndots:1\n';
    expect(resolversOf(text)).toEqual(['192.168.1.1', '10.0.0.1']);
  });
});
