import { describe, expect, it, vi } from 'vitest';
import { asNodeId } from '../../crdt/ids.ts';
import { uploadOf } from '../../node/api/upload.ts';
import { eventsOf, testApi } from './client.ts';
import { MemoryNode, StagingFailure, tokenOf } from './memory-node.ts';

describe('a push', () => {
  it('stages, replicates, releases and starts, and answers what runs', async () => {
    const { developer, node } = testApi();
    const { events } = await developer.push('hello', { instances: 2 });
    const steps = events.filter(({ type }) => type === 'step').map(({ step }) => step);
    expect(steps).toEqual(['uploading', 'staging', 'replicating', 'releasing', 'starting']);
    expect(events).toContainEqual({ type: 'line', text: '-----> Sample buildpack' });
    expect(events).toContainEqual({ type: 'progress', ready: 2, total: 2 });
    expect(events.at(-1)).toMatchObject({
      type: 'done',
      app: 'hello',
      release: 'v1',
      droplet: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
      buildpack: 'sample',
      routes: ['hello.localhost'],
      urls: ['http://hello.localhost:8080/'],
      instances: [
        { process: 'web', index: 0, state: 'ready', release: 'v1' },
        { process: 'web', index: 1, state: 'ready', release: 'v1' },
      ],
    });
    expect(node.writes).toHaveLength(1);
    expect(node.writes[0]).toMatchObject({
      by: 'the-developer',
      changes: [{ change: 'createApp' }, { change: 'addRelease' }],
    });
  });

  it('gives a new app a default route that no other has, when it is asked for, and leaves those that are there', async () => {
    const { developer } = testApi();
    const routesOf = async (name: string) => {
      const { events } = await developer.push(name, { randomRoute: true });
      return (events.at(-1) as { routes?: string[] }).routes!;
    };
    const [route] = await routesOf('hello');
    expect(route).toMatch(/^hello-[0-9a-f]{6}\.localhost$/);
    expect(await routesOf('hello')).toEqual([route]);
    expect((await routesOf('a'.repeat(63)))[0]).toMatch(/^a{56}-[0-9a-f]{6}\.localhost$/);
  });

  it('warns of what runs out where it is staged, and of nodes without room for the droplet', async () => {
    const { developer, node } = testApi(new MemoryNode({ nodes: ['alpha', 'beta', 'gamma'] }));
    node.pressures.set('alpha', [{ resource: 'disk', level: 'low', free: 3 * 1024 ** 3, total: 64 * 1024 ** 3 }]);
    node.pressures.set('beta', [{ resource: 'disk', level: 'full', free: 0, total: 64 * 1024 ** 3 }]);
    node.withoutRoom = [{ node: asNodeId('12D3KooWbeta'), reason: 'no space left' }];
    const { events } = await developer.push('hello');
    const warnings = events.flatMap(({ text }) => (String(text).startsWith('warning: ') ? [text] : []));
    expect(warnings).toEqual([
      expect.stringMatching(
        /^warning: alpha has little room left on its disk \(3 GiB of 64 GiB free\): free space on alpha/,
      ),
      'warning: only 3 nodes hold the droplet, beta has no room for a copy: no space left',
    ]);
    expect(events.at(-1)).toMatchObject({ type: 'done' });
  });

  it('gives a new app the routes asked for, or none', async () => {
    const { developer } = testApi();
    expect((await developer.push('a', { routes: ['X.example.org/api'] })).events.at(-1)).toMatchObject({
      routes: ['x.example.org/api'],
    });
    expect((await developer.push('b', { routes: [] })).events.at(-1)).toMatchObject({ routes: [] });
  });

  it('changes of an existing app only what the options say', async () => {
    const { developer, node } = testApi();
    await developer.push('hello', { instances: 2, memoryBytes: 64 * 1024 ** 2, env: { A: '1' } });
    await developer.post('/v1/apps/hello/routes', { route: 'www.example.org' });
    await developer.push('hello', { healthTimeoutMs: 5_000 });
    expect((await developer.get('/v1/apps/hello')).body).toMatchObject({
      release: 'v2',
      desired: { web: 2 },
      memoryBytes: 64 * 1024 ** 2,
      routes: ['hello.localhost', 'www.example.org'],
      health: { kind: 'port', timeoutMs: 5_000 },
    });
    expect(node.writes.at(-1)!.changes.map(({ change }) => change)).toEqual(['addRelease']);
    await developer.push('hello', { routes: [], env: { A: '2' }, start: false });
    const [app] = node.view().apps.values();
    expect(app).toMatchObject({ routes: [], stopped: true, release: { description: 'push' } });
    expect([node.envOf('hello'), node.envOf('hello', 'release')]).toEqual([{ A: '2' }, { A: '2' }]);
    expect(JSON.stringify(Object.values(app!.env))).toMatch(/^\["sealed:1:[^"]+"\]$/);
    await developer.push('hello');
    expect([...node.view().apps.values()][0]).toMatchObject({ stopped: false });
  });

  it.each(['VCAP_APPLICATION', 'CF_INSTANCE_INDEX', 'DYNO'])(
    'is refused before anything is staged when it sets %s, which Peer sets for each instance',
    async (key) => {
      const { developer, node } = testApi();
      const { status, response } = await developer.push('hello', { env: { [key]: '1' } });
      expect(status).toBe(400);
      expect(await response.json()).toEqual({
        error: {
          code: 'bad_request',
          retry: 'no',
          message: `env.${key}: is set by Peer for each instance, whatever the app sets: leave it out`,
        },
      });
      expect([node.staged, node.writes]).toEqual([[], []]);
      expect((await developer.push('hello', { env: { HOME: '/app', LANG: 'C', VCAP_SERVICES: '{}' } })).status).toBe(
        200,
      );
    },
  );

  it('stages with the environment the release will have', async () => {
    const { developer, node } = testApi();
    await developer.push('hello', { env: { A: '1', B: '1' } });
    let staged: Record<string, string> = {};
    node.onStage = ({ env }) => {
      staged = env;
    };
    await developer.push('hello', { env: { B: '2' } });
    expect(staged).toEqual({ A: '1', B: '2' });
  });

  it('does not wait for an app that shall not start', async () => {
    const { developer, node } = testApi();
    node.fate = () => ({ state: 'starting' });
    expect((await developer.push('hello', { start: false })).events.at(-1)).toMatchObject({
      type: 'done',
      instances: [],
    });
    expect((await developer.push('zero', { instances: 0 })).events.at(-1)).toMatchObject({
      type: 'done',
      instances: [],
    });
  });

  it('scales the only process there is, when it is no web process', async () => {
    const { developer, node } = testApi();
    node.processes = { worker: './work' };
    expect((await developer.push('jobs', { instances: 2 })).events.at(-1)).toMatchObject({
      type: 'done',
      instances: [{ process: 'worker' }, { process: 'worker' }],
    });
  });

  it('uses --command for the web process', async () => {
    const { developer, node } = testApi();
    node.processes = {};
    expect((await developer.push('hello')).events.at(-1)).toMatchObject({ type: 'failed', code: 'no_start_command' });
    await developer.push('hello', { command: 'exec ./other' });
    expect([...node.view().apps.values()][0]?.release?.processes).toEqual({ web: 'exec ./other' });
  });
});

describe('a push that fails', () => {
  it('in staging leaves no app behind, and says why', async () => {
    const { developer, node } = testApi();
    node.onStage = () => {
      throw new StagingFailure('no_buildpack', 'no buildpack recognises this app: add a Procfile');
    };
    const { events } = await developer.push('hello');
    expect(events.at(-1)).toEqual({
      type: 'failed',
      code: 'no_buildpack',
      message: 'no buildpack recognises this app: add a Procfile',
    });
    expect(node.writes).toEqual([]);
    expect((await developer.get('/v1/apps')).body).toEqual([]);
  });

  it('for a route of another app is refused before anything is uploaded', async () => {
    const { developer, node } = testApi();
    await developer.push('hello');
    const { events } = await developer.push('other', { routes: ['hello.localhost'] });
    expect(events).toEqual([
      { type: 'failed', code: 'route_taken', message: expect.stringContaining('belongs to hello') },
    ]);
    expect(node.staged).toHaveLength(1);
  });

  it('because the app crashes shows the reason and its last words', async () => {
    const { developer, node } = testApi();
    node.fate = () => ({ state: 'crashed', reason: 'exited with status 1' });
    const writing = node.write.bind(node);
    node.write = async (changes, by) => {
      const written = await writing(changes, by);
      node.say([...node.view().apps.keys()][0]!, 'Error: Cannot find module ./server');
      return written;
    };
    const { events } = await developer.push('hello');
    expect(events).toContainEqual({
      type: 'crash',
      slot: 'web/0',
      node: 'alpha',
      crashes: 3,
      reason: 'exited with status 1',
    });
    expect(events.at(-2)).toMatchObject({ type: 'log', source: 'APP', text: 'Error: Cannot find module ./server' });
    expect(events.at(-1)).toEqual({
      type: 'failed',
      code: 'crashed',
      message: 'web/0 keeps crashing on alpha: exited with status 1',
    });
    expect(node.listenersCount()).toBe(0);
  });

  it('finds the reason of a crash that was restarted at once', async () => {
    const { developer, node } = testApi();
    node.fate = () => ({ state: 'starting' });
    const pushing = developer.push('hello');
    await vi.waitFor(() => expect(node.view().apps.size).toBe(1));
    const [app] = node.view().apps.keys();
    const [instance] = node.instances(app!);
    for (let crashes = 1; crashes <= 3; crashes++) {
      const message = `hello/web/0 crashed on alpha: exited with status ${crashes}`;
      node.recorded.push({ atMs: 0, node: node.self.id, app: app!, name: 'instance.crashed', slot: 'web/0', message });
      instance!.crashes = crashes;
      node.changed();
      await new Promise((resolve) => setImmediate(resolve));
    }
    const { events } = await pushing;
    expect(events.filter(({ type }) => type === 'crash').at(-1)).toMatchObject({
      slot: 'web/0',
      crashes: 3,
      reason: 'exited with status 3',
    });
    expect(events.at(-1)).toMatchObject({ message: 'web/0 keeps crashing on alpha: exited with status 3' });
  });

  it('because its release was marked failed says what keeps running', async () => {
    const { developer, node } = testApi();
    await developer.push('hello');
    node.fate = (_, version) => ({ state: version === 2 ? 'starting' : 'ready' });
    const pushing = developer.push('hello', {}, 'new source');
    await vi.waitFor(() => expect([...node.view().apps.values()][0]!.releases).toHaveLength(2));
    const [app] = node.view().apps.values();
    await node.write(
      [{ change: 'failRelease', app: app!.id, release: app!.releases[1]!.id, reason: 'not healthy within 60 s' }],
      'alpha',
    );
    expect((await pushing).events.at(-1)).toEqual({
      type: 'failed',
      code: 'release_failed',
      message: 'v2 failed: not healthy within 60 s; v1 keeps running',
    });
  });

  it('because its release was marked failed does not say that something runs which never did', async () => {
    const { developer, node } = testApi();
    await developer.push('hello', { start: false });
    node.fate = () => ({ state: 'starting' });
    const pushing = developer.push('hello', {}, 'new source');
    await vi.waitFor(() => expect([...node.view().apps.values()][0]!.releases).toHaveLength(2));
    const [app] = node.view().apps.values();
    await node.write(
      [{ change: 'failRelease', app: app!.id, release: app!.releases[1]!.id, reason: 'exited with status 3' }],
      'alpha',
    );
    expect((await pushing).events.at(-1)).toMatchObject({
      message: 'v2 failed: exited with status 3; v1 is current again, but not ready',
    });
  });

  it('because the app is deleted meanwhile ends', async () => {
    const { developer, node } = testApi();
    node.fate = () => ({ state: 'starting' });
    const pushing = developer.push('hello');
    await vi.waitFor(() => expect(node.view().apps.size).toBe(1));
    await developer.send('DELETE', '/v1/apps/hello');
    expect((await pushing).events.at(-1)).toMatchObject({ type: 'failed', code: 'not_found' });
  });

  it('because the upload is cut off changes nothing', async () => {
    const { developer, node } = testApi();
    const cutOff = new ReadableStream({
      pull(controller) {
        controller.enqueue(new TextEncoder().encode('half a tarball'));
        controller.error(new Error('socket closed'));
      },
    });
    const { events } = await developer.push('hello', {}, cutOff);
    expect(events.at(-1)).toMatchObject({ type: 'failed', code: 'upload_cut_off' });
    expect(node.writes).toEqual([]);
  });

  it('for bad options is refused with their path', async () => {
    const { developer } = testApi();
    const { status, response } = await developer.push('hello', { health: { kind: 'magic' } });
    expect(status).toBe(400);
    expect(await response.json()).toEqual({
      error: { code: 'bad_request', retry: 'no', message: 'health.kind: should be one of port, http, process' },
    });
    expect((await developer.push('Hello World')).status).toBe(400);
    // It would be one of the node, not of whoever pushes.
    const path = await developer.push('hello', { buildpacks: ['/srv/pack'] });
    expect(await path.response.json()).toMatchObject({
      error: { code: 'bad_request', retry: 'no', message: expect.stringMatching(/^buildpacks\.0: is a path/) },
    });
  });
});

describe('pushes at the same time', () => {
  it('are one per app: the later one is told so', async () => {
    const { developer, node } = testApi();
    let release = () => {};
    node.onStage = () => new Promise<void>((resolve) => (release = resolve));
    const first = developer.push('hello');
    await vi.waitFor(async () => {
      const second = await developer.push('hello');
      expect(second.status).toBe(409);
      expect(await second.response.json()).toMatchObject({ error: { code: 'push_in_progress' } });
    });
    release();
    expect((await first).events.at(-1)).toMatchObject({ type: 'done' });
    node.onStage = () => {};
    expect((await developer.push('hello')).events.at(-1)).toMatchObject({ type: 'done', release: 'v2' });
  });

  it('end, with nothing written, when the client goes away before the release', async () => {
    const { api, node, developer } = testApi();
    let signal: AbortSignal | undefined;
    node.onStage = (request) => {
      signal = request.signal;
      return new Promise<void>((_, reject) => {
        request.signal.addEventListener('abort', () => reject(new StagingFailure('aborted', 'staging was aborted')));
      });
    };
    const response = await api.request('/v1/apps/hello/push', {
      method: 'POST',
      headers: { authorization: `Bearer ${tokenOf('developer')}` },
      body: 'a tarball',
    });
    const reader = response.body!.getReader();
    await reader.read();
    await vi.waitFor(() => expect(signal).toBeDefined());
    await reader.cancel();
    expect(signal!.aborted).toBe(true);
    node.onStage = () => {};
    await vi.waitFor(async () => expect((await developer.push('hello', { start: false })).status).toBe(200));
    expect(node.writes).toHaveLength(1);
  });
});

describe('an upload', () => {
  const bodyOf = (...chunks: string[]) =>
    new ReadableStream<Uint8Array>({
      start(controller) {
        for (const chunk of chunks) controller.enqueue(new TextEncoder().encode(chunk));
        controller.close();
      },
    });
  const read = async (upload: AsyncIterable<Uint8Array>) => {
    let bytes = 0;
    for await (const chunk of upload) bytes += chunk.length;
    return bytes;
  };

  it('is bounded in size', async () => {
    expect(await read(uploadOf(bodyOf('12345', '12345'), { bytesMax: 10 }))).toBe(10);
    await expect(read(uploadOf(bodyOf('12345', '123456'), { bytesMax: 10 }))).rejects.toMatchObject({
      code: 'too_large',
    });
  });

  it('is cut off when it stalls', async () => {
    const stalled = new ReadableStream<Uint8Array>({ pull: () => new Promise(() => {}) });
    await expect(read(uploadOf(stalled, { stallTimeoutMs: 10 }))).rejects.toMatchObject({ code: 'upload_cut_off' });
  });

  it('is not empty', async () => {
    await expect(read(uploadOf(null))).rejects.toMatchObject({ code: 'bad_request' });
    await expect(read(uploadOf(bodyOf()))).rejects.toMatchObject({ code: 'bad_request' });
  });
});

describe('a roll-out', () => {
  it.each([
    ['memory', 4 * 1024 ** 3, 'has 1024M of memory free, 4096M is needed'],
    ['inodes', 64 * 1024 ** 2, 'has no inodes left on its disk (10 of 1000 free)'],
  ] as const)(
    'fails when no node can take a slot for want of %s, and says why each refuses',
    async (resource, memoryBytes, why) => {
      vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
      try {
        const { developer, node } = testApi();
        for (const name of resource === 'inodes' ? ['alpha', 'beta'] : []) {
          node.pressures.set(name, [{ resource, level: 'full', free: 10, total: 1000 }]);
        }
        const pushing = developer.push('hello', { memoryBytes });
        let ended = false;
        void pushing.then(() => {
          ended = true;
        });
        while (!ended) {
          await vi.advanceTimersByTimeAsync(1_000);
          await new Promise((resolve) => setImmediate(resolve));
        }
        expect((await pushing).events.at(-1)).toEqual({
          type: 'failed',
          code: 'insufficient_resources',
          message: `insufficient resources: no node can take web/0: alpha ${why}; beta ${why}`,
        });
      } finally {
        vi.useRealTimers();
      }
    },
  );

  it('ends when nothing happens for longer than the health timeout allows', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
    try {
      const { developer, node } = testApi();
      node.fate = ({ index }) => ({ state: index === 0 ? 'ready' : 'starting' });
      const pushing = developer.push('hello', { instances: 2, healthTimeoutMs: 1_000 });
      let ended = false;
      void pushing.then(() => {
        ended = true;
      });
      while (!ended) {
        await vi.advanceTimersByTimeAsync(10_000);
        await new Promise((resolve) => setImmediate(resolve));
      }
      expect((await pushing).events.at(-1)).toMatchObject({
        type: 'failed',
        code: 'rollout_timeout',
        message: expect.stringContaining('1 of 2 instances are ready'),
      });
    } finally {
      vi.useRealTimers();
    }
  });

  it('does not count crashes from before it began', async () => {
    const { developer, node } = testApi();
    await developer.push('hello');
    const [app] = node.view().apps.values();
    for (const instance of node.instances(app!.id)) {
      instance.crashes = 2;
      instance.state = 'starting';
    }
    const stream = await developer.stream('/v1/apps/hello/rollout');
    for (const instance of node.instances(app!.id)) instance.state = 'ready';
    node.changed();
    const events = await eventsOf(stream);
    expect(events.map(({ type }) => type)).not.toContain('crash');
    expect(events.at(-1)).toMatchObject({ type: 'done' });
  });
});
