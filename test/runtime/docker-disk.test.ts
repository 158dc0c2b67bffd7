// The disk limit of containers: whoever fills a disk is told so at once, and nobody else notices. Where the machine
// cannot make disks, use is sampled.

import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { asAppId, asInstanceId } from '../../crdt/ids.ts';
import type { InstanceSpec } from '../../node/core/types.ts';
import type { CommandRunner } from '../../node/ports/commands.ts';
import type { Runtime } from '../../node/ports/runtime.ts';
import type { StagedDroplet } from '../../node/ports/staging.ts';
import { stackTag } from '../../node/runtime/docker/labels.ts';
import { hostStack } from '../../node/staging/stack.ts';
import { type DockerHarness, dockerHarness } from './docker-harness.ts';
import { folderOf } from './folder-tar.ts';
import { type Address, get, Opened, SERVER, shell, specOf } from './runtime.contract.ts';

const MIB = 1024 * 1024;
const DISK_BYTES = 16 * MIB;
/** Node is bound into droplets, so the image's server is Python's. */
const IMAGE_SERVER = `
import http.server, json, os, subprocess, urllib.parse
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        command = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query).get('c', ['echo hello'])[0]
        done = subprocess.run(['sh', '-c', command], capture_output=True, text=True)
        self.send_response(200); self.end_headers()
        self.wfile.write(json.dumps({'status': done.returncode, 'out': done.stdout, 'err': done.stderr}).encode())
http.server.ThreadingHTTPServer(('', int(os.environ['PORT'])), Handler).serve_forever()
`;
/** A file of a lower layer that everybody may change, and folders of each kind. */
const DOCKERFILE = `
FROM ${stackTag(hostStack())}
RUN mkdir -m 777 /own /srv/own /usr/own && head -c 4000000 /dev/zero >/own/old && chmod 666 /own/old && ln -s /etc /link
RUN rm -rf /mnt
COPY server.py /srv/
VOLUME /data
CMD ["python3", "/srv/server.py"]
`;

type Node = { harness: DockerHarness; opened: Opened; runner: Runtime & CommandRunner };
const built: string[] = [];

async function start(options: { ownDisks?: false } = {}): Promise<Node> {
  const harness = await dockerHarness(options);
  const found = await harness.open();
  return { harness, opened: new Opened(found), runner: found.runtime };
}

async function stop({ harness, runner }: Node): Promise<void> {
  await runner.close({ keepInstances: false });
  await harness.checkNothingLeft();
  await harness.dispose();
}

async function build({ runner }: Node): Promise<StagedDroplet> {
  const { signal } = new AbortController();
  const app = asAppId(randomUUID());
  const staged = await runner.images!.build({
    app,
    source: folderOf({ Dockerfile: DOCKERFILE, 'server.py': IMAGE_SERVER }),
    onLine: () => {},
    signal,
  });
  built.push(staged.image!.id);
  return staged;
}

const ofImage = (staged: StagedDroplet, changes: Partial<InstanceSpec> = {}): InstanceSpec => ({
  ...specOf(staged.digest),
  droplet: { digest: staged.digest, sizeBytes: staged.sizeBytes, stack: staged.stack },
  image: { ...staged.image!, ownCommand: true },
  command: '',
  diskBytes: DISK_BYTES,
  ...changes,
});

async function run({ runner, opened }: Node, spec: InstanceSpec): Promise<Address> {
  runner.start(spec);
  return opened.ready(spec.id);
}

describe('the disk of a container', () => {
  let node: Node;
  let image: StagedDroplet;

  beforeAll(async () => {
    node = await start();
    image = await build(node);
  });
  afterAll(async () => {
    await stop(node);
    for (const id of new Set(built)) {
      await node.harness.engine.docker
        .getImage(id)
        .remove({ force: true })
        .catch(() => {});
    }
    expect(execFileSync('losetup', ['-a']).toString()).not.toContain(node.harness.dataDir);
  });

  it('of a droplet is full when it is full; the instance, its neighbour and the node go on', async () => {
    const digest = await node.harness.droplet({ 'app/server.js': SERVER });
    const droplet = { digest, sizeBytes: 0, stack: hostStack() };
    const [filler, neighbour] = [specOf(digest, { droplet, diskBytes: DISK_BYTES }), specOf(digest, { droplet })];
    const at = await run(node, filler);
    const next = await run(node, neighbour);
    const fill = await shell(at, 'for i in $(seq 9); do head -c 9000000 /dev/zero >~/$i || exit 9; done');
    expect(fill).toMatchObject({ status: 9, err: expect.stringMatching(/No space left on device/) });
    expect(await shell(next, 'head -c 40000000 /dev/zero >~/big')).toMatchObject({ status: 0, err: '' });
    expect(await get(at, '/')).toBe('hello');
    // Room that is given back can be used again.
    expect(await shell(at, 'rm ~/1 && head -c 5000000 /dev/zero >~/again')).toMatchObject({ status: 0, err: '' });
    for (const { id } of [filler, neighbour]) {
      node.runner.stop(id, 'enough');
      expect(await node.opened.exitReason(id)).toBe('enough');
    }
  });

  it('of an image holds what it writes anywhere, and what it changes', async () => {
    const filler = ofImage(image);
    const at = await run(node, filler);
    const next = await run(node, ofImage(image));
    for (const place of ['/own', '/srv/own', '/usr/own']) {
      const fill = await shell(at, `head -c 40000000 /dev/zero >${place}/big; rm ${place}/big`);
      expect(fill.err, place).toMatch(/No space left on device/);
    }
    // A file of the image is copied before it is changed, and the image stays as it was.
    expect(await shell(at, 'for i in 1 2 3 4 5 6; do cat /own/old >>/own/old.$i; done')).toMatchObject({
      err: expect.stringMatching(/No space left on device/),
    });
    expect(await shell(at, 'rm /own/old.* && echo x >>/own/old && rm /own/old')).toMatchObject({ status: 0, err: '' });
    expect((await shell(next, 'stat -c %s /own/old; ls -d /mnt')).out).toBe('4000000\n');
    expect((await shell(next, 'echo kept >/data/x && cat /data/x && stat -f -c %T /data /tmp')).out).toBe(
      'kept\ntmpfs\ntmpfs\n',
    );
  });

  it("of an image leaves the image's own rules in force, and the machine's files where they are", async () => {
    const at = await run(node, ofImage(image));
    for (const path of ['/x', '/etc/x', '/usr/x', '/link/x', '/srv/x']) {
      expect((await shell(at, `touch ${path}`)).err, path).toMatch(/Permission denied|Read-only file system/);
    }
    const { out } = await shell(at, 'cat /link/hostname; cat /etc/hosts | head -1; grep -c " /proc/self" /proc/mounts');
    expect(out).toMatch(/^shop\s*127\.0\.0\.1\s+localhost\n/);
  });

  it('of a task is bounded as well', async () => {
    const { app, release, droplet, env, memoryBytes, uris } = ofImage(image);
    const fill = ['sh', '-c', 'head -c 40000000 /dev/zero >/own/big'];
    const id = asInstanceId(`task-${randomUUID()}`);
    const spec = { id, app, name: 'fill', release, droplet, env, memoryBytes, diskBytes: DISK_BYTES, uris };
    const ofTheImage = await node.runner.runTask({ ...spec, image: ofImage(image).image! }, { argv: fill });
    expect(await text(ofTheImage.stderr)).toMatch(/No space left on device/);
    const digest = await node.harness.droplet({});
    const ofADroplet = await node.runner.runTask(
      { ...spec, id: asInstanceId(`task-${randomUUID()}`), droplet: { digest, sizeBytes: 0, stack: hostStack() } },
      { argv: ['sh', '-c', 'head -c 40000000 /dev/zero >~/big'] },
    );
    expect(await text(ofADroplet.stderr)).toMatch(/No space left on device/);
    for (const task of [ofTheImage, ofADroplet]) expect((await task.exited).code).not.toBe(0);
  });

  it('outlives the daemon, and goes with the instance', async () => {
    const spec = ofImage(image);
    const at = await run(node, spec);
    await node.runner.close({ keepInstances: true });
    const again = await node.harness.open();
    node = { ...node, opened: new Opened(again), runner: again.runtime };
    await node.runner.adopt();
    const fill = await shell(at, 'head -c 40000000 /dev/zero >/own/big');
    expect(fill.err).toMatch(/No space left on device/);
    node.runner.stop(spec.id, 'enough');
    expect(await node.opened.exitReason(spec.id)).toBe('enough');
  });
});

describe('where the machine cannot make disks', () => {
  it('an instance that takes more than it may is ended', async () => {
    const node = await start({ ownDisks: false });
    const spec = ofImage(await build(node));
    const at = await run(node, spec);
    void shell(at, 'for i in 1 2; do head -c 9000000 /dev/zero >/own/$i; done').catch(() => {});
    // Looks take a small share of the time at most, so they are seldom where each is slow.
    const reason = await node.opened.exitReason(spec.id, { timeout: 60_000 });
    expect(reason).toMatch(/^disk limit of 16 MiB exceeded/);
    await stop(node);
    for (const id of new Set(built)) {
      await node.harness.engine.docker
        .getImage(id)
        .remove({ force: true })
        .catch(() => {});
    }
  });
});
