import { describe, expect, it } from 'vitest';
import { readManifest } from '../../cli/manifest/cloud-foundry.ts';
import { type AppPlan, planOf } from '../../cli/manifest/plan.ts';
import { variablesOf } from '../../cli/manifest/variables.ts';
import type { PushOptions } from '../../node/api/validate.ts';

const MiB = 1024 ** 2;
const read = (text: string, variables = {}) => readManifest(text, 'manifest.yml', variables);
const one = (text: string, variables = {}) => {
  const apps = read(`applications:\n- name: shop\n${text.replace(/^/gm, '  ')}`, variables);
  expect(apps).toHaveLength(1);
  return apps[0]!;
};

describe('a manifest', () => {
  const means: [text: string, options: PushOptions][] = [
    ['memory: 512M', { memoryBytes: 512 * MiB }],
    ['memory: 1GB\ndisk_quota: 2G', { memoryBytes: 1024 * MiB, diskBytes: 2048 * MiB }],
    ['instances: 3', { instances: 3 }],
    ['command: bundle exec rackup', { command: 'bundle exec rackup' }],
    ['command: null', {}],
    ['buildpack: https://example.org/pack.git#v1', { buildpacks: ['https://example.org/pack.git#v1'] }],
    ['buildpacks:\n- nodejs_buildpack\n- staticfile_buildpack\n- ./own', { buildpacks: ['nodejs', 'static', './own'] }],
    [
      'env:\n  A: 1\n  B: 1.10\n  C: 007\n  D: yes\n  E:\n  F: "null"',
      {
        env: { A: '1', B: '1.10', C: '007', D: 'yes', E: '', F: 'null' },
      },
    ],
    [
      'routes:\n- route: shop.example.org\n- route: example.org/buy\n  protocol: http1',
      {
        routes: ['shop.example.org', 'example.org/buy'],
      },
    ],
    ['no-route: true', { routes: [] }],
    [
      'services:\n- cache\n- name: db\n  kind: postgres\n  plan: medium\n  memory: 512M\nvolumes: [/data, "/logs:64M", {path: /kept, size: 2G, snapshot: 1h, keep: 24, on-loss: wait, hard-quota: true}]',
      {
        services: [{ name: 'cache' }, { name: 'db', kind: 'postgres', plan: 'medium', memoryBytes: 512 * MiB }],
        volumes: [
          { path: '/data' },
          { path: '/logs', sizeBytes: 64 * MiB },
          {
            path: '/kept',
            sizeBytes: 2048 * MiB,
            snapshotEveryMs: 3_600_000,
            snapshotsKept: 24,
            onLoss: 'wait',
            hardQuota: true,
          },
        ],
      },
    ],
    ['random-route: true', { randomRoute: true }],
    ['random-route: true\nroutes:\n- route: a.b', { routes: ['a.b'] }],
    ['random-route: false\ndefault-route: true\nlifecycle: buildpack\nservices: []', {}],
    [
      'health-check-type: http\nhealth-check-http-endpoint: /up\ntimeout: 90',
      {
        health: { kind: 'http', path: '/up' },
        healthTimeoutMs: 90_000,
      },
    ],
    ['health-check-type: none', { health: { kind: 'process' } }],
    [
      'processes:\n- type: web\n  instances: 2\n  command: serve\n  health-check-type: port',
      {
        instances: 2,
        command: 'serve',
        health: { kind: 'port' },
      },
    ],
  ];
  it.each(means)('%j means %j', (text, options) => {
    expect(one(text)).toEqual({ name: 'shop', options });
  });

  it('says how many of each process type, and what they run', () => {
    const text =
      'memory: 128M\nprocesses:\n- type: worker\n  instances: 4\n  command: work\n  memory: 128M\n- type: clock\n  instances: 0';
    expect(one(text).options).toEqual({
      memoryBytes: 128 * MiB,
      scale: { worker: 4, clock: 0 },
      commands: { worker: 'work' },
    });
  });

  it('names a folder or an image', () => {
    expect(one('path: ./dist')).toEqual({ name: 'shop', path: './dist', options: {} });
    expect(one('docker:\n  image: nginx:1.27')).toEqual({ name: 'shop', image: 'nginx:1.27', options: {} });
  });

  it('resolves anchors and merges, also of keys that only hold them', () => {
    const apps = read(`
version: 1
defaults: &defaults
  memory: 64M
  env: &env { LEVEL: info }
x-note: anything
applications:
- <<: *defaults
  name: web
- <<: *defaults
  name: api
  env:
    <<: *env
    PORTS: many
`);
    expect(apps).toEqual([
      { name: 'web', options: { memoryBytes: 64 * MiB, env: { LEVEL: 'info' } } },
      { name: 'api', options: { memoryBytes: 64 * MiB, env: { LEVEL: 'info', PORTS: 'many' } } },
    ]);
  });

  it('takes ((variables)) from files and, before them, from --var', () => {
    const variables = variablesOf(
      [
        {
          name: 'vars.yml',
          text: 'mem: 64M\nhost: shop\nurls: [{route: a.example.org}]\nnested: {n: 2}\nsame: ((host))',
        },
      ],
      { mem: '32M', id: '007' },
    );
    const text =
      'memory: ((mem))\ninstances: ((nested.n))\nroutes: ((urls))\nenv:\n  ID: ((id))\n  URL: https://((host)).((host)).org\n  SAME: ((same))';
    expect(one(text, variables).options).toEqual({
      memoryBytes: 32 * MiB,
      instances: 2,
      routes: ['a.example.org'],
      env: { ID: '007', URL: 'https://shop.shop.org', SAME: 'shop' },
    });
  });

  const refused: [text: string, message: string][] = [
    ['memory: lots', 'applications/0/memory: should be a size such as 256M or 1G'],
    ['memory: 1', 'applications/0/memory: should be a size such as 256M or 1G'],
    ['memory: 1M', 'applications/0/memory: should be a size from 16M to 64G'],
    ['disk_quota: [1G]', 'applications/0/disk_quota: should be text'],
    ['instances: two', 'applications/0/instances: should be a whole number from 0 to 100'],
    ['instances: 101', 'applications/0/instances: should be a whole number from 0 to 100'],
    ['timeout: 181', 'applications/0/timeout: should be a whole number from 1 to 180'],
    ['memroy: 1G', 'applications/0/memroy: is not known: did you mean memory?'],
    ['xyzzy: 1', 'applications/0/xyzzy: is not a key that is known here: remove it'],
    ['stack: cflinuxfs4', 'applications/0/stack: apps run on the stack of their node: remove it'],
    ['host: shop', 'applications/0/host: Cloud Foundry dropped it: write routes, such as - route: shop.example.org'],
    [
      'services: [Db]',
      'applications/0/services/0: should be up to 63 lower-case letters, digits and dashes, with no dash at either end: db would do',
    ],
    ['services:\n- kind: postgres', 'applications/0/services/0/name: is missing'],
    ['services:\n- name: db\n  knd: postgres', 'applications/0/services/0/knd: is not known: did you mean kind?'],
    [
      'services:\n- name: db\n  parameters: {}',
      'applications/0/services/0/parameters: is not supported: plan, memory and storage say what a service is like',
    ],
    ['services: [db, db]', 'applications/0/services/1: db is there twice'],
    ['volumes: [data]', 'applications/0/volumes/0: should be /PATH or /PATH:SIZE, such as /data:2G'],
    ['volumes: [{size: 1G}]', 'applications/0/volumes/0/path: is missing'],
    ['volumes: [{path: /a, snapshot: 5s}]', 'applications/0/volumes/0/snapshot: should be a duration from 60s to 366d'],
    ['volumes: [{path: /a, keep: 0}]', 'applications/0/volumes/0/keep: should be a whole number from 1 to 1000'],
    ['volumes: [{path: /a, on-loss: hope}]', 'applications/0/volumes/0/on-loss: should be wait or restore'],
    [
      'volumes: [{path: /a, snapshots: 1h}]',
      'applications/0/volumes/0/snapshots: is not known: did you mean snapshot?',
    ],
    ['volumes: [/a, "/a:2G"]', 'applications/0/volumes/1: /a is there twice'],
    ['env: [A=1]', 'applications/0/env: should be a mapping of names to values'],
    ['env:\n  A: [1]', 'applications/0/env/A: should be text: write lists and mappings as JSON in quotes'],
    ['routes:\n- shop.example.org', 'applications/0/routes/0: should be a mapping, such as KEY: VALUE'],
    [
      'routes:\n- route: tcp://shop.example.org:1024',
      'applications/0/routes/0/route: should be HOST or HOST/PATH, without a port',
    ],
    [
      'routes:\n- route: a.org\n  protocol: http2',
      'applications/0/routes/0/protocol: should be http1: apps are spoken to in HTTP/1.1',
    ],
    ['no-route: true\nroutes:\n- route: a.org', 'applications/0/no-route: excludes routes'],
    ['no-route: maybe', 'applications/0/no-route: should be true or false'],
    ['health-check-type: tcp', 'applications/0/health-check-type: should be one of port, http, process'],
    ['health-check-http-endpoint: /up', 'applications/0/health-check-http-endpoint: needs health-check-type: http'],
    [
      'health-check-invocation-timeout: 5',
      'applications/0/health-check-invocation-timeout: probes run as Peer sets them (1 s each, every 10 s once ready): remove it',
    ],
    [
      'docker:\n  image: a\n  username: me',
      'applications/0/docker/username: images that need a login are not supported: load the image on the node, or use a public one',
    ],
    ['docker:\n  image: a\nbuildpack: nodejs', 'applications/0/docker: excludes buildpacks: an image is run as it is'],
    ['processes: {web: 1}', 'applications/0/processes: should be a list of processes, such as - type: worker'],
    ['processes:\n- instances: 1', 'applications/0/processes/0/type: is missing'],
    ['processes:\n- type: web\n- type: web', 'applications/0/processes/1/type: web is there twice'],
    [
      'processes:\n- type: web\n  memory: 64M\n- type: worker\n  memory: 128M',
      'applications/0/processes/1/memory: differs from another, and all processes of an app have the same memory',
    ],
    [
      'processes:\n- type: worker\n  health-check-type: http',
      'applications/0/processes/0/health-check-type: should be process: only web has a port, so worker is healthy while it runs',
    ],
    [
      'memory: ((mem))',
      'applications/0/memory: ((mem)) has no value: pass --var mem=VALUE, or a file with it as --vars-file FILE',
    ],
  ];
  it.each(refused)('refuses %j: %s', (text, message) => {
    expect(() => one(text)).toThrow(expect.objectContaining({ message: `manifest.yml: ${message}`, exitStatus: 1 }));
  });

  const wrong: [text: string, message: string][] = [
    ['', 'manifest.yml: should hold applications:'],
    ['applications: []', 'manifest.yml: applications: holds no app'],
    ['applications: {name: a}', 'manifest.yml: applications: should be a list of apps, such as - name: hello'],
    [
      'aplications: []',
      'manifest.yml: aplications: is no key of a manifest: put it into each application, or behind an anchor such as &defaults',
    ],
    [
      'applications:\n- name: My App',
      'manifest.yml: applications/0/name: should be up to 63 lower-case letters, digits and dashes, with no dash at either end: my-app would do',
    ],
    ['applications:\n- name: a\n- memory: 64M', 'manifest.yml: applications/1/name: is missing'],
    ['applications:\n- name: a\n- name: a', 'manifest.yml: applications/1/name: a is there twice'],
    ['applications:\n- name: a\n  name: b', 'manifest.yml:3:3: Map keys must be unique'],
    [
      'applications: [',
      'manifest.yml:1:16: Flow sequence in block collection must be sufficiently indented and end with a ]',
    ],
    [
      'a: &a [x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b, *b, *b, *b, *b, *b, *b, *b, *b, *b, *b, *b, *b, *b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\napplications: [*c]',
      'manifest.yml: Excessive alias count indicates a resource exhaustion attack',
    ],
  ];
  it.each(wrong)('refuses %j: %s', (text, message) => {
    expect(() => read(text)).toThrow(expect.objectContaining({ message }));
  });

  it('refuses variables that refer to one another in a circle', () => {
    expect(() => one('command: ((a))', { a: '((b))', b: 'x((a))' })).toThrow('refer to one another in a circle');
  });
});

describe('flags and a manifest', () => {
  const web: AppPlan = {
    name: 'web',
    path: 'dist',
    options: { memoryBytes: 1, instances: 1, env: { A: '1', B: '2' }, routes: ['a.org'], commands: { worker: 'w' } },
  };
  const api: AppPlan = { name: 'api', options: {} };

  it('meet: flags win, and environments are joined', () => {
    expect(planOf([web], { name: 'copy', options: { instances: 3, env: { B: '3' }, routes: [] } })).toEqual([
      { ...web, name: 'copy', options: { ...web.options, instances: 3, env: { A: '1', B: '3' }, routes: [] } },
    ]);
  });

  it('push all apps in order, or the one that --name chooses', () => {
    expect(planOf([web, api], { options: { start: false } }).map(({ name, options }) => [name, options.start])).toEqual(
      [
        ['web', false],
        ['api', false],
      ],
    );
    expect(planOf([web, api], { name: 'api', options: { instances: 2 } })).toEqual([
      { name: 'api', options: { instances: 2 } },
    ]);
    expect(() => planOf([web, api], { name: 'apj', options: {} })).toThrow(
      '--name apj: there is no such app in the manifest, only web, api',
    );
    expect(() => planOf([web, api], { options: { instances: 2 } })).toThrow('choose it with --name APP');
  });
});
