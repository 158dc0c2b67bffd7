// Services beside apps, whichever runtime the apps have: each is adopted, stopped and entered where it runs, and
// neither runtime takes the other's instances for leftovers.

import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { asAppId, asServiceId, type Digest, type InstanceId } from '../../crdt/ids.ts';
import type { ServiceView } from '../../crdt/view.ts';
import { createBlobStore } from '../../node/blobs/store.ts';
import type { LaunchedService } from '../../node/ports/services.ts';
import { chooseRuntime } from '../../node/runtime/choose.ts';
import { createLogStore } from '../../node/runtime/logs/store.ts';
import { closeIsolation, prepareIsolation } from '../../node/runtime/sandbox/isolation.ts';
import { hostStack } from '../../node/staging/stack.ts';
import { DropletShelf } from './droplet.ts';
import { checkNothingLeft, openVolumes, silent, testNode } from './harness.ts';
import { Opened, SERVER, specOf } from './runtime.contract.ts';
import { aMount } from './volumes.contract.ts';

const PROGRAM: LaunchedService = {
  command: 'exec sleep 1000',
  env: {},
  files: { '/data/word': 'kept' },
  stopSignal: 'SIGTERM',
  stopGraceMs: 5_000,
  probe: { argv: ['cat', '/data/word'] },
  port: 7000,
};
const DROPLET_BYTES_MAX = 64 * 1024 * 1024;

describe.each(['process', 'docker'] as const)('services beside apps in the %s runtime', (wanted) => {
  it('live on with them over a restart of the daemon, and each is entered where it runs', async () => {
    const node = await testNode();
    const { dataDir, nodeId } = node;
    const blobs = await createBlobStore({ dir: join(dataDir, 'blobs') });
    const shelf = new DropletShelf(join(dataDir, 'shelf'));
    const closing: (() => unknown)[] = [];
    const open = async () => {
      const isolation = await prepareIsolation({ dataDir, nodeId, log: silent });
      const logs = createLogStore({ dataDir, nodeId, log: silent });
      const volumes = await openVolumes(node, isolation);
      closing.unshift(
        () => volumes.close(),
        () => closeIsolation(isolation, { keepInstances: false }),
        () => logs.close(),
      );
      const runtime = await chooseRuntime({
        wanted,
        nodeId,
        isolation,
        stack: hostStack(),
        blobs,
        policy: { allowed: [] },
        volumes,
        services: { programOf: async () => PROGRAM, probeOf: async () => PROGRAM.probe },
        logs,
        log: silent,
      });
      return { isolation, runtime, node: new Opened({ runtime, logs }) };
    };
    const first = await open();
    const built = shelf.read(await shelf.add({ 'app/server.js': SERVER }));
    const { digest } = await blobs.put(built, { sizeBytesMax: DROPLET_BYTES_MAX });
    const app = specOf(digest, { droplet: { digest, sizeBytes: 0, stack: hostStack() } });
    const id = randomUUID();
    const service = specOf(`sha256:${'0'.repeat(64)}` as Digest, {
      app: { id: asAppId(id), name: 'orders' },
      process: 'service',
      volumes: [aMount('/data')],
      service: { id: asServiceId(id), name: 'orders' } as ServiceView,
    });
    for (const spec of [app, service]) first.runtime.start(spec);
    for (const spec of [app, service]) await first.node.ready(spec.id);
    await first.runtime.close({ keepInstances: true });
    await first.isolation.networks?.detach();

    const second = await open();
    const adopted = await second.runtime.adopt();
    expect(adopted.map((one) => one.id).sort()).toEqual([app.id, service.id].sort());
    for (const spec of [app, service]) await second.node.ready(spec.id).catch(() => {});
    const run = async (instance: InstanceId, argv: string[]): Promise<string> => {
      const attended = await second.runtime.exec(instance, { argv });
      attended.stdin.end();
      return text(attended.stdout);
    };
    expect(await run(service.id, ['cat', '/data/word'])).toBe('kept');
    expect(await run(app.id, ['ls', '/home/vcap/app'])).toBe('server.js\n');
    expect((await second.runtime.usage(service.app.id)).map((one) => one.id)).toEqual([service.id]);
    for (const spec of [app, service]) second.runtime.stop(spec.id, 'over');
    for (const spec of [app, service]) expect(await second.node.exitReason(spec.id)).toBe('over');
    await second.runtime.close({ keepInstances: false });
    await checkNothingLeft(node);
    for (const close of closing) await close();
    await blobs.close();
    await node.dispose();
  });
});
