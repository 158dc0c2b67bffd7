import { describe, expect, it } from 'vitest';
import { readCompose } from '../../cli/manifest/compose.ts';
import type { AppPlan } from '../../cli/manifest/plan.ts';

const MiB = 1024 ** 2;
const FILES: Record<string, Record<string, string>> = { '.web.env': { LEVEL: 'debug', ONLY: 'file' } };

const read = (source: string, variables: Record<string, string> = {}) =>
  readCompose({ source, file: 'compose.yaml', variables, readEnvFile: async (path) => FILES[path] });
const one = async (text: string, variables: Record<string, string> = {}): Promise<AppPlan> => {
  const apps = await read(`services:\n  web:\n${text.replace(/^/gm, '    ')}`, variables);
  expect(apps).toHaveLength(1);
  return apps[0]!;
};
const quiet = { routes: [], health: { kind: 'process' } };

describe('a Compose file', () => {
  const means: [text: string, plan: Partial<AppPlan>][] = [
    ['image: redis:7', { image: 'redis:7', options: { routes: [], health: { kind: 'process' } } }],
    ['image: nginx\nports: ["8080:80"]', { image: 'nginx', options: {} }],
    ['image: nginx\nports: ["127.0.0.1:8080:80/tcp"]', { image: 'nginx', options: {} }],
    ['image: nginx\nports:\n- target: 80\n  published: 8080', { image: 'nginx', options: {} }],
    ['build: ./web\nports: [3000]', { path: 'web', options: {} }],
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
        options: { health: { kind: 'http', path: '/up' }, healthTimeoutMs: 90_000 },
      },
    ],
    [
      'image: a\nports: ["3000"]\nhealthcheck:\n  test: wget -q http://127.0.0.1:3000 || exit 1',
      {
        image: 'a',
        options: { health: { kind: 'http', path: '/' } },
      },
    ],
    [
      'image: a\nports: ["80"]\nhealthcheck:\n  disable: true',
      {
        image: 'a',
        options: { health: { kind: 'process' } },
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
    ['redis:$TAG', 'redis:7'],
    [`redis:\${TAG}`, 'redis:7'],
    [`redis:\${NONE:-6}`, 'redis:6'],
    [`redis:\${EMPTY-6}`, 'redis:'],
    [`redis:\${EMPTY:-6}`, 'redis:6'],
    [`redis\${TAG:+-alpine}`, 'redis-alpine'],
    [`redis:$\${TAG}`, `redis:\${TAG}`],
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
      'version: "3"\nservices:\n  web:\n    image: a\n    volumes: ["./x:/y"]\n    healthcheck: {interval: 5s}\n    deploy: {resources: {limits: {cpus: "1"}}}\n    xyzzy: 1\nnetworks: {back: {}}';
    await expect(read(text)).rejects.toThrow(
      expect.objectContaining({
        exitStatus: 1,
        message:
          'compose.yaml: not supported: services.web.volumes (instances keep no files: use a service outside of the cluster for data), services.web.healthcheck.interval (remove it), services.web.deploy.resources.limits.cpus (remove it), services.web.xyzzy (remove it), networks (apps reach each other by their routes: remove it)',
      }),
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
    ['image: a\nrestart: "no"', 'services.web.restart: should be always: an app that ends is started again'],
    ['image: a\nenv_file: none.env', 'services.web.env_file: there is no file none.env'],
    ['image: a\nbuild:\n  dockerfile: other', 'services.web.build.dockerfile: should be Dockerfile, in the context'],
    ['image: a\ndepends_on: [db]', 'services.web.depends_on: there is no service db'],
    ['image: a\ndepends_on: [web]', 'services.web.depends_on: web depends on itself in a circle'],
    [
      'image: a\nports: ["80"]\nhealthcheck:\n  test: pg_isready',
      'services.web.healthcheck.test: commands are not run as checks: write curl http://localhost:PORT/PATH with the port of ports, or remove it',
    ],
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

  it('refuses a name that no app can have, and a file without services', async () => {
    await expect(read('services:\n  my_web: {image: a}')).rejects.toThrow('services.my_web: should be up to 63');
    await expect(read('services: {}')).rejects.toThrow('should be a mapping of names to services');
  });
});
