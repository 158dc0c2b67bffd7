import { describe, expect, it } from 'vitest';
import { readCompose } from '../../cli/manifest/compose.ts';
import { REFERENCES } from '../../cli/manifest/compose-wiring.ts';
import type { AppPlan } from '../../cli/manifest/plan.ts';
import { kindOf } from '../../node/services/catalogue.ts';
import { SHAPES } from './compose-public.ts';

const MiB = 1024 ** 2;
const FILES: Record<string, Record<string, string>> = { '.web.env': { LEVEL: 'debug', ONLY: 'file' } };

const read = (source: string, variables: Record<string, string> = {}, notes: string[] = []) =>
  readCompose({
    source,
    file: 'compose.yaml',
    variables,
    note: (text) => notes.push(text),
    readEnvFile: async (path) => FILES[path],
  });
const one = async (text: string, variables: Record<string, string> = {}): Promise<AppPlan> => {
  const apps = await read(`services:\n  web:\n${text.replace(/^/gm, '    ')}`, variables);
  expect(apps).toHaveLength(1);
  return apps[0]!;
};
const quiet = { routes: [], health: { kind: 'process' } };

describe('a Compose file', () => {
  const means: [text: string, plan: Partial<AppPlan>][] = [
    ['image: busybox:1', { image: 'busybox:1', options: { routes: [], health: { kind: 'process' } } }],
    [
      'image: postgres:17\ncommand: pg_dump -Fc',
      { image: 'postgres:17', options: { ...quiet, command: 'pg_dump -Fc' } as never },
    ],
    [
      'image: a\nvolumes: [/data/, "/more"]',
      { image: 'a', options: { ...quiet, volumes: [{ path: '/data' }, { path: '/more' }] } as never },
    ],
    ['image: nginx\nports: ["8080:80"]', { image: 'nginx', options: { env: { PORT: '80' } } }],
    ['image: nginx\nports: ["127.0.0.1:8080:80/tcp"]', { image: 'nginx', options: { env: { PORT: '80' } } }],
    ['image: nginx\nports:\n- target: 80\n  published: 8080', { image: 'nginx', options: { env: { PORT: '80' } } }],
    ['build: ./web\nports: [3000]', { path: 'web', options: { env: { PORT: '3000' } } }],
    ['build:\n  context: .\n  dockerfile: Dockerfile', { path: '.', options: quiet as never }],
    ['image: a\ncommand: serve --all', { image: 'a', options: { ...quiet, command: 'serve --all' } as never }],
    [
      'image: a\ncommand: [serve, "it is", "a\'b"]',
      {
        image: 'a',
        options: { ...quiet, command: "serve 'it is' 'a'\\''b'" } as never,
      },
    ],
    [
      'image: a\nscale: 2\nmem_limit: 64m',
      { image: 'a', options: { ...quiet, instances: 2, memoryBytes: 64 * MiB } as never },
    ],
    [
      'image: a\ndeploy:\n  replicas: 3\n  resources:\n    limits:\n      memory: 134217728',
      {
        image: 'a',
        options: { ...quiet, instances: 3, memoryBytes: 128 * MiB } as never,
      },
    ],
    [
      'image: a\nports: ["80"]\nhealthcheck:\n  test: ["CMD", "curl", "-f", "http://localhost/up"]\n  start_period: 90s',
      {
        image: 'a',
        options: { env: { PORT: '80' }, health: { kind: 'http', path: '/up' }, healthTimeoutMs: 90_000 },
      },
    ],
    [
      'image: a\nports: ["3000"]\nhealthcheck:\n  test: wget -q http://127.0.0.1:3000 || exit 1',
      {
        image: 'a',
        options: { env: { PORT: '3000' }, health: { kind: 'http', path: '/' } },
      },
    ],
    [
      'image: a\nports: ["80"]\nhealthcheck:\n  disable: true',
      {
        image: 'a',
        options: { env: { PORT: '80' }, health: { kind: 'process' } },
      },
    ],
    ['image: a\nrestart: unless-stopped\nx-own: [anything]', { image: 'a', options: quiet as never }],
  ];
  it.each(means)('%j means %j', async (text, plan) => {
    expect(await one(text)).toEqual({ name: 'web', ...plan });
  });

  it('collects the environment from files, the file itself and whoever pushes', async () => {
    const text =
      'image: a\nenv_file: [.web.env, {path: none.env, required: false}]\nenvironment:\n- LEVEL=info\n- MINE\n- NOBODY';
    expect((await one(text, { MINE: 'own' })).options.env).toEqual({ LEVEL: 'info', ONLY: 'file', MINE: 'own' });
    expect((await one('image: a\nenvironment: {A: 1.0, B: }', { B: 'b' })).options.env).toEqual({ A: '1.0', B: 'b' });
  });

  const substituted: [text: string, image: string][] = [
    ['$TAG', '7'],
    ['nginx:$TAG', 'nginx:7'],
    [`nginx:\${TAG}`, 'nginx:7'],
    [`nginx:\${NONE:-6}`, 'nginx:6'],
    [`nginx:\${EMPTY-6}`, 'nginx:'],
    [`nginx:\${EMPTY:-6}`, 'nginx:6'],
    [`nginx\${TAG:+-alpine}`, 'nginx-alpine'],
    [`nginx:$\${TAG}`, `nginx:\${TAG}`],
  ];
  it.each(substituted)('reads the image %s as %s', async (text, image) => {
    expect((await one(`image: "${text}"`, { TAG: '7', EMPTY: '' })).image).toBe(image);
  });

  it('pushes services after those they depend on', async () => {
    const text =
      'services:\n  web: {image: a, depends_on: [api]}\n  api: {image: b, depends_on: {db: {condition: service_healthy}}}\n  db: {image: c}';
    expect((await read(text)).map(({ name }) => name)).toEqual(['db', 'api', 'web']);
  });

  it('names every key that it does not support, at once', async () => {
    const text =
      'version: "3"\nservices:\n  web:\n    image: a\n    volumes: ["./x:/y"]\n    cap_add: [NET_ADMIN]\n    deploy: {resources: {reservations: {cpus: "1"}}}\n    xyzzy: 1\nsecrets: {back: {}}';
    await expect(read(text)).rejects.toThrow(
      expect.objectContaining({
        exitStatus: 1,
        message:
          'compose.yaml: not supported: services.web.volumes (./x: instances see no folders of the machine: put files into the image or the folder that is pushed, and name a volume for data, such as data:/data), services.web.cap_add (apps have no capabilities: remove it), services.web.deploy.resources.reservations (remove it), services.web.xyzzy (remove it), secrets (use environment)',
      }),
    );
  });

  it('tells what has no effect here, and pushes the rest', async () => {
    const notes: string[] = [];
    const text = `
services:
  web:
    image: a
    container_name: web
    hostname: web
    networks: [back]
    user: "1000"
    tty: true
    restart: "no"
    healthcheck: {test: pg_isready, interval: 5s}
    deploy: {mode: replicated, resources: {limits: {cpus: "1", memory: 1G}}}
    x-mine: {}
networks: {back: {}}`;
    const [web] = await read(text, {}, notes);
    expect(web!.options).toEqual({ ...quiet, memoryBytes: 1024 * MiB });
    expect(notes).toEqual([
      'compose.yaml: without effect here: services.web.container_name, services.web.hostname, services.web.networks, ' +
        'services.web.user, services.web.tty, services.web.healthcheck.interval, services.web.deploy.mode, ' +
        'services.web.deploy.resources.limits.cpus, networks, services.web.restart (an app that ends is started ' +
        'again), services.web.healthcheck.test (only curl http://localhost:PORT/PATH with the port of ports is asked)',
    ]);
  });

  it.each<[text: string, command: string]>([
    ['entrypoint: [/bin/start, --now]', '/bin/start --now'],
    ['entrypoint: /bin/start\ncommand: [a b, c]', "/bin/start 'a b' c"],
    ['command: serve --all', 'serve --all'],
  ])('starts %j with %s', async (text, command) => {
    expect((await one(`image: a\n${text}`)).options.command).toBe(command);
  });

  it('leaves services of profiles out until somebody asks for those, and says so', async () => {
    const text =
      'services:\n  web: {image: a}\n  debug: {image: b, profiles: [tools, dev]}\n  free: {image: c, profiles: []}';
    const notes: string[] = [];
    const names = async (profiles: string) =>
      (await read(text, { COMPOSE_PROFILES: profiles }, notes)).map(({ name }) => name);
    expect(await names('')).toEqual(['web', 'free']);
    expect(notes).toEqual([
      'compose.yaml: left out by their profiles: debug (tools, dev): --var COMPOSE_PROFILES=NAME adds them',
    ]);
    for (const profiles of ['dev', 'x, tools', '*']) expect(await names(profiles)).toEqual(['web', 'debug', 'free']);
    await expect(read('services:\n  a: {image: a, profiles: [x]}')).rejects.toThrow(
      'all are left out by their profiles',
    );
  });

  const refused: [text: string, message: string][] = [
    ['command: a', 'services.web: should have an image, or a build'],
    [
      'image: a\nports: ["80", "81"]',
      'services.web.ports: should be one port: the app has one, and its route leads there',
    ],
    ['image: a\nports: ["53:53/udp"]', 'services.web.ports.0: should be a TCP port such as "8080:80" or "80"'],
    ['image: a\nscale: many', 'services.web.scale: should be a whole number from 0 to 100'],
    ['image: a\nmem_limit: lots', 'services.web.mem_limit: should be a size such as 256M or 1G'],
    ['image: a\nenv_file: none.env', 'services.web.env_file: there is no file none.env'],
    ['image: a\nbuild:\n  dockerfile: other', 'services.web.build.dockerfile: should be Dockerfile, in the context'],
    ['image: a\ndepends_on: [db]', 'services.web.depends_on: there is no service db'],
    ['image: a\ndepends_on: [web]', 'services.web.depends_on: web depends on itself in a circle'],
    ['image: a:$NONE', `services.web.image: \${NONE} has no value: set it, or pass --var NONE=VALUE`],
    [
      `image: \${NONE:?the image}`,
      `services.web.image: \${NONE} has no value: the image: set it, or pass --var NONE=VALUE`,
    ],
    ['image: a$', 'services.web.image: a $ that begins no variable is written $$'],
    ['image: [a]', 'services.web.image: should be text'],
  ];
  it.each(refused)('refuses %j: %s', async (text, message) => {
    await expect(one(text)).rejects.toThrow(expect.objectContaining({ message: `compose.yaml: ${message}` }));
  });

  it('makes named volumes volumes of the app that mounts them, in either syntax', async () => {
    const text = `
services:
  web:
    image: a
    volumes:
    - kept:/var/lib/kept:rw
    - {type: volume, source: wide, target: /srv/wide}
  other: {image: b, volumes: [third:/third:z]}
volumes:
  kept:
  wide: {driver: local, x-peer: {size: 2G, snapshot: 1h, keep: 24, on-loss: wait}}
  third: {name: third-of-all}
  unused: {}`;
    const [web, other] = await read(text);
    const wide = { sizeBytes: 2048 * MiB, snapshotEveryMs: 3_600_000, snapshotsKept: 24, onLoss: 'wait' };
    expect(web!.options.volumes).toEqual([{ path: '/var/lib/kept' }, { path: '/srv/wide', ...wide }]);
    expect(other!.options.volumes).toEqual([{ path: '/third' }]);
  });

  const noVolume: [services: string, volumes: string, message: string][] = [
    [
      'web: {image: a, volumes: [x:/x]}',
      '{}',
      'services.web.volumes.0: there is no volume x: write it under volumes: at the top',
    ],
    [
      'web: {image: a, volumes: [x:/x]}\n  two: {image: b, volumes: [x:/y]}',
      '{x: }',
      'services.two.volumes.0: web mounts x too, and a volume has one place in one app: give each its own, or let one app serve the files',
    ],
    ['web: {image: a, volumes: [x:/x, x:/y]}', '{x: }', 'services.web.volumes.1: web mounts x twice, and a volume'],
    ['web: {image: a, volumes: [x:/x, y:/x/]}', '{x: , y: }', 'services.web.volumes.1: /x is there twice'],
    ['web: {image: a, volumes: [x]}', '{x: }', 'services.web.volumes.0: should be NAME:/PATH, such as data:/data'],
    ['web: {image: a, volumes: [x:y]}', '{x: }', 'services.web.volumes.0: should be NAME:/PATH, such as data:/data'],
    ['web: {image: a, volumes: {x: /x}}', '{x: }', 'services.web.volumes: should be a list, such as - data:/data'],
    [
      'web: {image: a, volumes: [x:/x:ro]}',
      '{x: }',
      'not supported: services.web.volumes (x:/x:ro: a volume belongs to the one app',
    ],
    [
      'web: {image: a, volumes: [/var/run/docker.sock:/s]}',
      '{}',
      'not supported: services.web.volumes (/var/run/docker.sock: apps do not reach',
    ],
    [
      'web: {image: a, volumes: [{type: bind, source: ./x, target: /x}, ~/y:/y]}',
      '{}',
      'not supported: services.web.volumes (./x, ~/y: instances see no folders',
    ],
    [
      'web: {image: a}',
      '{x: {external: true}}',
      'volumes: x/external: is of another project, and volumes belong to one app here: remove it',
    ],
    ['web: {image: a}', '{x: {driver: nfs}}', 'volumes: x/driver: should be local: volumes are folders of a node'],
    ['web: {image: a}', '{x: {x-peer: {size: lots}}}', 'volumes: x/x-peer/size: should be a size such as 256M or 1G'],
    ['web: {image: a}', '{x: {x-peer: {sice: 1G}}}', 'volumes: x/x-peer/sice: is not known: did you mean size?'],
  ];
  it.each(noVolume)('refuses %s with volumes %s', async (services, volumes, message) => {
    await expect(read(`services:\n  ${services}\nvolumes: ${volumes}`)).rejects.toThrow(`compose.yaml: ${message}`);
  });

  it.each([
    ['postgres:16-alpine', 'postgres', 'DATABASE_URL'],
    ['docker.io/bitnami/mariadb@sha256:ab', 'mysql', 'MYSQL_HOST'],
    ['redis', 'redis', 'REDIS_URL'],
    ['rabbitmq:3-management', 'rabbitmq', 'AMQP_URL'],
  ])('says how to use a service instead of a server of %s', async (image, kind, variable) => {
    const server = `db: {image: '${image}', command: --any=flag, networks: [back], volumes: [./x:/y]}`;
    await expect(read(`services:\n  ${server}\n  web: {image: a}`)).rejects.toThrow(
      expect.objectContaining({
        message: expect.stringMatching(
          `^compose.yaml: not supported: services.db \\(a ${kind} server is a service here, with credentials of its own: write provider: {type: peer, options: {kind: ${kind}}} as all it holds, and depends_on at what uses it, which finds them in ${variable === 'DATABASE_URL' ? variable : `.*${variable}`}`,
        ),
      }),
    );
  });

  it('binds apps to the services that they depend on', async () => {
    const text = `
services:
  web: {image: a, depends_on: {db: {condition: service_healthy}, api: {}, cache: {}}}
  api: {build: ./api, depends_on: [db]}
  db: {provider: {type: peer, options: {kind: postgres, plan: medium, storage: 20G}}}
  cache: {provider: {type: peer, options: {kind: redis, name: shop-cache}}}`;
    const db = { name: 'db', kind: 'postgres', plan: 'medium', storageBytes: 20 * 1024 * MiB };
    expect((await read(text)).map(({ name, options }) => [name, options.services])).toEqual([
      ['api', [db]],
      ['web', [db, { name: 'shop-cache', kind: 'redis' }]],
    ]);
    const refusal = (rest: string) => read(`services:\n  ${rest}`).catch((error: Error) => error.message);
    const lone = 'db: {provider: {type: peer, options: {kind: postgres}}}\n  web: {image: a}';
    expect(await refusal(lone)).toBe(
      'compose.yaml: services.db: nothing depends on it: write depends_on: [db] at what uses it',
    );
    const other = 'db: {provider: {type: awesomecloud, options: {kind: postgres}}}';
    expect(await refusal(other)).toBe('compose.yaml: services.db.provider.type: should be peer');
    const both = 'db: {image: a, provider: {type: peer, options: {kind: postgres}}}';
    expect(await refusal(both)).toMatch(/services.db.provider: excludes image and build/);
  });

  it.each(['mongo', 'docker.io/mongo:7', 'mcr.microsoft.com/mssql/server:2022-latest', 'memcached:alpine'])(
    'says that nobody could reach a server of %s',
    async (image) => {
      await expect(read(`services:\n  web: {image: a}\n  db: {image: '${image}', volumes: [./x:/y]}`)).rejects.toThrow(
        'not supported: services.db (apps are reached over HTTP alone, and no kind of service is such a server: ',
      );
      expect(await read(`services:\n  web: {image: mongo-express}\n  other: {image: example/mongo/web}`)).toHaveLength(
        2,
      );
    },
  );

  const plansOf = async (source: string, notes: string[]) => {
    const plans = await read(source, {}, notes);
    return Object.fromEntries(
      plans.map(({ name, options: { services, volumes } }) => [
        name,
        {
          ...(services === undefined ? {} : { services: services.map((one) => one.name) }),
          ...(volumes === undefined ? {} : { volumes: volumes.map(({ path }) => path) }),
        },
      ]),
    );
  };
  it.each(SHAPES)('of the public is taken with the changes that are named: $name', async (shape) => {
    const { before, says, ignores = [], after = before, apps } = shape;
    const notes: string[] = [];
    const said = await read(before).then(
      () => [],
      (error: Error) => error.message,
    );
    expect(said).toEqual(says.length === 0 ? [] : `compose.yaml: not supported: ${says.join(', ')}`);
    expect(await plansOf(after, notes)).toEqual(apps);
    expect(notes).toEqual(ignores.length === 0 ? [] : [`compose.yaml: without effect here: ${ignores.join(', ')}`]);
  });

  it('does not take an address in the file for one that leads somewhere, once the database is a service', async () => {
    const db = 'db: {provider: {type: peer, options: {kind: postgres}}}';
    const web = (env: string) => read(`services:\n  ${db}\n  web: {image: a, depends_on: [db], environment: ${env}}`);
    await expect(web('{DB_HOST: db}')).rejects.toThrow(
      'services.web.environment (db is at another address, with other credentials: write DB_HOST: $$(PGHOST); it has to log in, as $$(PGUSER) with $$(PGPASSWORD))',
    );
    // Equal by chance, or another's.
    for (const env of [
      '{SCHEMA: db}',
      '{DB_HOST: db2}',
      '{URL: "https://db.example.org/"}',
      '{DB_HOST: }',
      '[DB_HOST]',
    ]) {
      expect(await web(env)).toHaveLength(1);
    }
  });

  it('refuses a name that no app can have, and a file without services', async () => {
    await expect(read('services:\n  my_web: {image: a}')).rejects.toThrow('services.my_web: should be up to 63');
    await expect(read('services: {}')).rejects.toThrow('should be a mapping of names to services');
  });
});

describe('what an app is told of a database', () => {
  it.each(Object.entries(REFERENCES))('of the kind %s is what a binding says', (kind, references) => {
    const access = { user: 'u', password: 'p', database: 'd' };
    const environment = kindOf(kind)!.environment(access, { host: 'h', port: 1 });
    for (const name of Object.values(references)) expect(environment).toHaveProperty([name]);
  });
});
