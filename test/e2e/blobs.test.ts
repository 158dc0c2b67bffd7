// Content on its way between real daemons: a push sends only what changed, whichever node it goes to, and a node that
// serves damaged content is caught while the content still arrives.

import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LocalCluster, waitFor } from '../../scripts/local-cluster.ts';

const MiB = 1024 * 1024;
/** So many that each of two holders is asked for some of them. */
const CONTENT_BYTES = 24 * MiB;
const DEADLINE_MS = 30_000;

let cluster: LocalCluster;
let folder: string;
beforeAll(async () => {
  cluster = await LocalCluster.start(3);
  folder = join(cluster.folder, 'app');
  await mkdir(folder);
  await writeFile(join(folder, 'index.html'), '<h1>hello</h1>');
  await writeFile(join(folder, 'large.bin'), randomBytes(CONTENT_BYTES));
});
afterAll(() => cluster.stop());

/** Changes a byte in each chunk that is not smaller than the smallest. */
async function damagePacks(blobs: string): Promise<void> {
  for (const name of await readdir(join(blobs, 'packs'))) {
    const file = await open(join(blobs, 'packs', name), 'r+');
    const { size } = await file.stat();
    for (let at = 8_000; at < size; at += 16_000) {
      const byte = Buffer.alloc(1);
      await file.read(byte, 0, 1, at);
      byte[0]! ^= 1;
      await file.write(byte, 0, 1, at);
    }
    await file.close();
  }
}

describe('a push', () => {
  it('sends only what changed, also to a node that the app was never pushed to', async () => {
    const [one, , three] = cluster.nodes;
    const first = await cluster.peer(one!, ['push', folder, '--name', 'site']);
    expect(first).toMatchObject({ code: 0, stderr: expect.stringMatching(/sent 24M of 24M/) });
    await writeFile(join(folder, 'index.html'), '<h1>changed</h1>');
    const second = await cluster.peer(three!, ['push', folder, '--name', 'site']);
    expect(second).toMatchObject({ code: 0, stderr: expect.stringMatching(/sent [\d.]+K of 24M/) });
    await waitFor('the changed page', DEADLINE_MS, async () => {
      return (await cluster.get(one!, 'site.localhost')).body.includes('changed');
    });
  });
});

describe('a node that serves damaged chunks', () => {
  it('is left out and named in an event, and the droplet arrives from another', async () => {
    const [one, two, three] = cluster.nodes;
    const held = (await readdir(join(three!.dataDir, 'blobs', 'manifests'))).sort();
    expect(held.length).toBeGreaterThan(0);
    // The one with the damage is asked first: nobody else is there.
    await cluster.killNode(two!);
    await cluster.killNode(three!);
    await rm(join(three!.dataDir, 'blobs'), { recursive: true });
    await damagePacks(join(one!.dataDir, 'blobs'));
    const back = await cluster.restartNode(three!);
    await waitFor('the event', DEADLINE_MS, async () => {
      const events = await cluster.json<{ name: string; message: string }[]>(back, ['events']);
      const event = events.find(({ name }) => name === 'blob.corrupt');
      return event?.message.startsWith('node-1 sent a damaged part of sha256:') === true;
    });
    await cluster.restartNode(two!);
    // The droplet of the current release: this node runs the app, or is to take over when another one dies.
    await waitFor('the droplet on the node that lost it', DEADLINE_MS, async () => {
      return (await readdir(join(back.dataDir, 'blobs', 'manifests'))).length > 0;
    });
  });
});
