// What every Runtime guarantees of volumes, as tests that run against each implementation.

import { randomUUID } from 'node:crypto';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect } from 'vitest';
import { asInstanceId, asLineageId, asVolumeId } from '../../crdt/ids.ts';
import type { InstanceSpec, VolumeMount } from '../../node/core/types.ts';
import type { CommandRunner, TaskSpec } from '../../node/ports/commands.ts';
import type { LogStore } from '../../node/ports/logs.ts';
import type { Freezer, Runtime, UsageMeter } from '../../node/ports/runtime.ts';
import type { VolumeStore } from '../../node/volumes/store.ts';
import { chosenTests, Opened, type RuntimeHarness, SERVER, shell, specOf } from './runtime.contract.ts';

export type VolumesHarness = Omit<RuntimeHarness, 'open'> & {
  open(): Promise<{ runtime: Runtime & CommandRunner & UsageMeter & Freezer; logs: LogStore; volumes: VolumeStore }>;
};

const MIB = 1024 * 1024;
const WAIT = { timeout: 60_000, interval: 20 };

export function aMount(path: string, sizeBytes = 64 * MIB): VolumeMount {
  return { id: asVolumeId(randomUUID()), lineage: asLineageId(randomUUID()), path, sizeBytes };
}

function taskOf({ app, release, droplet, env, memoryBytes, diskBytes, uris }: InstanceSpec): TaskSpec {
  const id = asInstanceId(`task-${randomUUID()}`);
  return { id, name: 'task', app, release, droplet, env, memoryBytes, diskBytes, uris };
}

export function describeVolumes(
  name: string,
  makeHarness: () => Promise<VolumesHarness>,
  { only }: { only?: readonly string[] } = {},
): void {
  describe(`${name} › volumes`, () => {
    const test = chosenTests(only);
    let harness: VolumesHarness;
    let opened: Awaited<ReturnType<VolumesHarness['open']>>;
    let node: Opened;

    async function open(): Promise<void> {
      opened = await harness.open();
      node = new Opened(opened);
    }
    async function start(changes: Partial<InstanceSpec>, files: Record<string, string> = {}): Promise<InstanceSpec> {
      const digest = await harness.droplet({ 'app/server.js': SERVER, ...files });
      const spec = specOf(digest, { droplet: { digest, sizeBytes: 0, stack: harness.stack }, ...changes });
      opened.runtime.start(spec);
      return spec;
    }
    const dataOf = (mount: VolumeMount): string => opened.volumes.placeOf(mount).data;

    beforeEach(async () => {
      harness = await makeHarness();
      await open();
    });
    afterEach(async () => {
      await opened.runtime.close({ keepInstances: false });
      await opened.volumes.close();
      await harness.checkNothingLeft();
      await harness.dispose();
    });

    test('are written by one instance and read by the next one, whoever it runs as', async () => {
      const mount = aMount('/data');
      const first = await start({ volumes: [mount], command: 'mkdir /data/a && echo kept >/data/a/file && sleep 0.1' });
      await node.exitReason(first.id);
      const between = await start({ command: 'cat /data/a/file || ls -d /data' });
      expect(await node.exitReason(between.id)).toBe('exited with status 2');
      const next = await start({
        volumes: [mount],
        command: 'cat /data/a/file && echo more >>/data/a/file; sleep 0.1',
      });
      await node.exitReason(next.id);
      expect(await node.lines(next)).toEqual(['kept']);
      expect(await readFile(join(dataOf(mount), 'a/file'), 'utf8')).toBe('kept\nmore\n');
    });

    test('are mounted wherever they are asked for, several at once, also below the app', async () => {
      const paths = ['/data', '/var/lib/shop', '/app/uploads', '/home/vcap/app/deep/er', '/data/inner'];
      const mounts = paths.map((path) => aMount(path));
      const spec = await start({ volumes: mounts }, { 'app/deep/kept-out-of-sight/x': '' });
      const at = await node.ready(spec.id);
      const wrote = await shell(at, paths.map((path) => `echo ${path} >${path}/name`).join(' && '));
      expect(wrote).toEqual({ status: 0, out: '', err: '' });
      for (const mount of mounts) expect(await readFile(join(dataOf(mount), 'name'), 'utf8')).toBe(`${mount.path}\n`);
      const { out } = await shell(at, 'cd; ls; cat uploads/name deep/er/name; stat -c %U deep uploads /data');
      expect(out).toBe('deep\nserver.js\nuploads\n/app/uploads\n/home/vcap/app/deep/er\nvcap\nvcap\nvcap\n');
    });

    test('belong to a user that other instances are not, and are closed to them', async () => {
      const mount = aMount('/data');
      const one = await start({ volumes: [mount] });
      const other = await start({ volumes: [aMount('/data')] });
      const [at, otherAt] = [await node.ready(one.id), await node.ready(other.id)];
      const [uid, otherUid] = [await shell(at, 'id -u'), await shell(otherAt, 'id -u')];
      expect(uid.out).not.toBe(otherUid.out);
      const found = await stat(dataOf(mount));
      expect([String(found.uid), found.mode & 0o777]).toEqual([uid.out.trim(), 0o700]);
    });

    test('are mounted by one instance at a time: the next one waits until the one before has gone', async () => {
      const mount = aMount('/data');
      const first = await start({ volumes: [mount], command: 'exec node server.js' });
      await node.ready(first.id);
      const next = await start({ volumes: [mount], command: 'cat /data/file; exec node server.js' });
      await expect.poll(() => node.lines(next, 'CELL'), WAIT).toHaveLength(1);
      expect(node.of(next.id)).toEqual([]);
      await writeFile(join(dataOf(mount), 'file'), 'last words\n', { mode: 0o644 });
      opened.runtime.stop(first.id, 'its turn is over');
      await node.ready(next.id);
      expect(await node.lines(next)).toContain('last words');
    });

    test('are held by an instance that outlives the daemon', async () => {
      const mount = aMount('/data');
      const first = await start({ volumes: [mount] });
      await node.ready(first.id);
      await opened.runtime.close({ keepInstances: true });
      await open();
      const mounted = [{ id: mount.id, lineage: mount.lineage }];
      expect(await opened.runtime.adopt()).toMatchObject([{ id: first.id, volumes: mounted }]);
      expect(opened.volumes.list()).toMatchObject([{ id: mount.id, heldBy: first.id, path: '/data' }]);
      const next = await start({ volumes: [mount] });
      await expect.poll(() => node.lines(next, 'CELL'), WAIT).toHaveLength(1);
      expect(node.of(next.id)).toEqual([]);
      opened.runtime.stop(first.id, 'its turn is over');
      await node.ready(next.id);
      expect(opened.volumes.list()).toMatchObject([{ heldBy: next.id }]);
    });

    test('are seen by commands in the instance', async () => {
      const spec = await start({ volumes: [aMount('/data')] });
      await node.ready(spec.id);
      const command = { argv: ['sh', '-c', 'echo "$WORD" >/data/file && cat /data/file'], env: { WORD: 'seen' } };
      const attended = await opened.runtime.exec(spec.id, command);
      attended.stdin.end();
      expect(await text(attended.stdout)).toBe('seen\n');
      expect(await attended.exited).toEqual({ code: 0 });
    });

    test('are seen by tasks too, beside the instance and as its user, until the task has ended', async () => {
      const mount = aMount('/data');
      const spec = await start({ volumes: [mount] });
      const at = await node.ready(spec.id);
      await shell(at, 'echo by the instance >/data/file');
      const task = { ...taskOf(spec), volumes: [mount] };
      const attended = await opened.runtime.runTask(task, {
        argv: ['sh', '-c', 'cat /data/file; stat -c %U /data/file; echo by the task >>/data/file; read -r _'],
      });
      const out = text(attended.stdout);
      const written = () => readFile(join(dataOf(mount), 'file'), 'utf8');
      await expect.poll(written, WAIT).toBe('by the instance\nby the task\n');
      expect(opened.volumes.usersOf(mount)).toEqual([spec.id, task.id]);
      expect((await shell(at, 'cat /data/file')).out).toBe(await written());
      // As all that mounts a volume is, for a snapshot.
      expect(await (await opened.runtime.freeze(task.id)).thaw()).toBe(true);
      attended.stdin.end('\n');
      expect(await attended.exited).toEqual({ code: 0 });
      expect(await out).toBe('by the instance\nvcap\n');
      expect(opened.volumes.usersOf(mount)).toEqual([spec.id]);
    });

    test('are made for a task where no instance was before, and end one that fills them', async () => {
      const mount = aMount('/data', 4 * MIB);
      const digest = await harness.droplet({ 'app/server.js': SERVER });
      const spec = specOf(digest, { droplet: { digest, sizeBytes: 0, stack: harness.stack } });
      const task = { ...taskOf(spec), volumes: [mount] };
      const argv = ['sh', '-c', 'head -c 6000000 /dev/zero >/data/file; exec sleep 1000'];
      const attended = await opened.runtime.runTask(task, { argv });
      const { reason } = await attended.exited;
      expect(reason).toBe('its volume /data is full: 5.7 MiB of 4 MiB');
      expect((await stat(join(dataOf(mount), 'file'))).size).toBe(6_000_000);
      expect(opened.volumes.usersOf(mount)).toEqual([]);
    });

    test('are held still for a moment, with all that runs in the instance, which then goes on', async () => {
      const mount = aMount('/data');
      const ticking = 'const f = "/data/" + process.argv[1]; setInterval(() => fs.appendFileSync(f, "x"), 5)';
      const command = `node -e '${ticking}' child & node -e '${ticking}' main & wait`;
      const spec = await start({ volumes: [mount], command, health: { kind: 'process', path: '/', timeoutMs: 1_000 } });
      // Another one, which writes as much meanwhile as this one would have.
      const other = await start({ volumes: [aMount('/data')], command, health: spec.health });
      const sizesOf = (folder: string) =>
        Promise.all(['main', 'child'].map(async (name) => (await stat(join(folder, name))).size));
      const others = () => sizesOf(dataOf(other.volumes![0]!));
      const sizes = () => sizesOf(dataOf(mount));
      const grown = async (from: readonly number[], now = sizes) =>
        (await now()).every((size, index) => size > from[index]! + 3);
      await expect.poll(() => grown([0, 0]).catch(() => false), WAIT).toBe(true);
      await expect.poll(() => grown([0, 0], others).catch(() => false), WAIT).toBe(true);
      const frozen = await opened.runtime.freeze(spec.id);
      const [before, othersBefore] = [await sizes(), await others()];
      await expect.poll(() => grown(othersBefore, others), WAIT).toBe(true);
      expect(await sizes()).toEqual(before);
      expect(await frozen.thaw()).toBe(true);
      await expect.poll(() => grown(before), WAIT).toBe(true);
      opened.runtime.stop(spec.id, 'enough');
      expect(await node.exitReason(spec.id)).toBe('enough');
      const refusal = () => opened.runtime.freeze(spec.id).catch((error: { code: string }) => error.code);
      await expect.poll(refusal, WAIT).toBe('not_running');
    });

    test('that grow far beyond their size end the instance, and keep what is in them', async () => {
      const mount = aMount('/data', 4 * MIB);
      const spec = await start({ volumes: [mount] });
      const at = await node.ready(spec.id);
      await shell(at, 'head -c 6000000 /dev/zero >/data/file');
      expect(await node.exitReason(spec.id)).toBe('its volume /data is full: 5.7 MiB of 4 MiB');
      expect((await stat(join(dataOf(mount), 'file'))).size).toBe(6_000_000);
    });

    test('with a hard quota end at their size, in instances and tasks, which run on', async () => {
      const mount = { ...aMount('/data', 24 * MIB), hardQuota: true as const };
      const spec = await start({ volumes: [mount] });
      const at = await node.ready(spec.id);
      const full = await shell(at, 'head -c 40000000 /dev/zero >/data/file; rm /data/file; echo kept >/data/note');
      expect(full).toMatchObject({ status: 0, err: expect.stringContaining('No space left on device') });
      const task = { ...taskOf(spec), volumes: [mount] };
      const attended = await opened.runtime.runTask(task, { argv: ['cat', '/data/note'] });
      attended.stdin.end();
      expect(await text(attended.stdout)).toBe('kept\n');
      await opened.runtime.close({ keepInstances: true });
      await open();
      await opened.runtime.adopt();
      expect((await shell(at, 'cat /data/note')).out).toBe('kept\n');
      expect(await readFile(join(dataOf(mount), 'note'), 'utf8')).toBe('kept\n');
    });

    test.each([
      ['a link', 'ln -s /etc app/uploads', 'uploads is a link there'],
      ['a link on the way', 'ln -s / app/deep', 'deep is a link there'],
      ['a file', 'echo >app/uploads', 'uploads is a file there'],
    ])('are not mounted on %s that the app has put there', async (_, plant, problem) => {
      // The volume's own content is no more to be trusted than a droplet's.
      const outer = aMount('/app/kept');
      const planted = await start({ volumes: [outer], command: `cd kept && mkdir app && ${plant} && echo planted` });
      await node.exitReason(planted.id);
      expect(await node.lines(planted)).toEqual(['planted']);
      const path = problem.startsWith('deep') ? '/app/kept/app/deep/etc/new' : '/app/kept/app/uploads';
      const spec = await start({ volumes: [outer, aMount(path)] });
      expect(await node.exitReason(spec.id)).toBe(
        `the volume ${path} cannot be mounted: ${problem}: remove it, and push again`,
      );
      expect(await readdir('/etc')).not.toContain('new');
    });

    test('are not mounted in the place of the app itself', async () => {
      const spec = await start({ volumes: [aMount('/app')] });
      expect(await node.exitReason(spec.id)).toMatch(/a volume at \/app would hide the app: choose a folder within it/);
    });
  });
}
