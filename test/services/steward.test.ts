import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { InstanceId, NodeId } from '../../crdt/ids.ts';
import type { BindingView, DesiredView } from '../../crdt/view.ts';
import type { ClusterEvent } from '../../node/core/types.ts';
import { Contexts } from '../../node/services/contexts.ts';
import { GUESTS_MAX, Steward } from '../../node/services/steward.ts';
import { PlainRunner } from '../api/plain-runner.ts';
import { silentLog } from '../router/cluster.ts';
import { binding, folderKind, INSTANCE, open, service, viewOf } from './fixtures.ts';

const files = service('files');
let root: string;
let view: DesiredView;
let instance: InstanceId | undefined;
let events: ClusterEvent[];
let runner: PlainRunner;
let steward: Steward;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'peer-steward-'));
  await mkdir(join(root, 'users'));
  [view, instance, events, runner] = [viewOf([files], []), INSTANCE, [], new PlainRunner()];
  const kind = folderKind(root);
  steward = new Steward({
    view: () => view,
    instanceOf: () => instance,
    contexts: new Contexts({
      kindOf: (name) => (name === kind.name ? kind : undefined),
      engineOf: () => ({ version: '1', programs: {} }),
      open,
    }),
    open,
    runner,
    record: (event) => events.push(event),
    log: silentLog,
    nowMs: () => performance.now(),
  });
});

afterEach(async () => {
  await steward.close();
  await rm(root, { recursive: true });
});

const bind = (...bindings: BindingView[]): void => {
  view = viewOf([files], bindings);
  steward.look();
};
const users = async (): Promise<string[]> => (await readdir(join(root, 'users'))).sort();
const untilUsersAre = (...names: string[]): Promise<void> =>
  vi.waitFor(async () => expect(await users()).toEqual(names), 10_000);

describe('the steward', () => {
  it('lets in who is bound, with the password of the binding', async () => {
    bind(binding(1, files));
    await untilUsersAre('b0000000100004000');
    await vi.waitFor(() => expect(steward.granted(files.id)).toEqual([binding(1, files).id]), 10_000);
    expect(await readFile(join(root, 'users/b0000000100004000'), 'utf8')).toBe('password1');
  });

  it('lets in no more who is unbound, and leaves accounts that are not of bindings alone', async () => {
    await writeFile(join(root, 'users/administrator'), '');
    bind(binding(1, files), binding(2, files));
    await untilUsersAre('administrator', 'b0000000100004000', 'b0000000200004000');
    bind(binding(2, files));
    await untilUsersAre('administrator', 'b0000000200004000');
    await vi.waitFor(() => expect(events.map(({ name }) => name)).toContain('service.revoked'), 10_000);
  });

  it('takes up what changed while it was busy', async () => {
    bind(binding(1, files));
    bind(binding(2, files));
    bind(binding(2, files), binding(3, files));
    await untilUsersAre('b0000000200004000', 'b0000000300004000');
  });

  it('looks again at what a restarted engine lets in', async () => {
    bind(binding(1, files));
    await untilUsersAre('b0000000100004000');
    await rm(join(root, 'users/b0000000100004000'));
    await writeFile(join(root, 'users/b00000009abcdef00'), 'from a restored backup');
    instance = 'i-2' as InstanceId;
    steward.look();
    await untilUsersAre('b0000000100004000');
  });

  it('looks again at an engine whose data was replaced, also when that happened while it was busy', async () => {
    bind(binding(1, files));
    await untilUsersAre('b0000000100004000');
    await vi.waitFor(() => expect(steward.granted(files.id)).toHaveLength(1), 10_000);
    for (let round = 0; round < 2; round++) {
      await rm(join(root, 'users/b0000000100004000'));
      await writeFile(join(root, 'users/b00000009abcdef00'), 'from a restored backup');
      // The second time it is at work.
      steward.lookAgain(files.id);
      expect(steward.granted(files.id)).toEqual([]);
      if (round === 1) steward.lookAgain(files.id);
      await untilUsersAre('b0000000100004000');
    }
  });

  it('lets nobody in while the service is shut, whatever is bound meanwhile, until it is opened again', async () => {
    bind(binding(1, files));
    await untilUsersAre('b0000000100004000');
    await steward.shut(files.id);
    expect(await users()).toEqual([]);
    bind(binding(1, files), binding(2, files));
    await steward.shut(files.id);
    expect([await users(), steward.isShut(files.id)]).toEqual([[], true]);
    steward.reopen(files.id);
    await untilUsersAre('b0000000100004000', 'b0000000200004000');
  });

  it('opens a service that was shut when another instance runs it, and does not shut one that does not run', async () => {
    bind(binding(1, files));
    await steward.shut(files.id);
    instance = undefined;
    steward.look();
    expect(steward.isShut(files.id)).toBe(true);
    instance = 'i-2' as InstanceId;
    steward.look();
    expect(steward.isShut(files.id)).toBe(false);
    await untilUsersAre('b0000000100004000');
    instance = undefined;
    await expect(steward.shut(files.id)).rejects.toMatchObject({ code: 'service_command_failed' });
  });

  it('does nothing when nothing has changed', async () => {
    bind(binding(1, files));
    await vi.waitFor(() => expect(steward.granted(files.id)).toHaveLength(1), 10_000);
    const calls = runner.started.length;
    steward.look();
    steward.look();
    expect(runner.started).toHaveLength(calls);
  });

  it('says once that it fails, without the password, and tries again', async () => {
    await rm(join(root, 'users'), { recursive: true });
    bind(binding(1, files));
    await vi.waitFor(() => expect(events.map(({ name }) => name)).toEqual(['service.bindings_failed']), 10_000);
    expect(JSON.stringify(events)).not.toContain('password1');
    await mkdir(join(root, 'users'));
    await untilUsersAre('b0000000100004000');
  });

  it('keeps secrets out of the list of processes', async () => {
    bind(binding(1, files));
    await untilUsersAre('b0000000100004000');
    expect(JSON.stringify(runner.started)).not.toContain('password1');
  });

  it('lets a person in for as long as they stay, also when the engine starts again meanwhile', async () => {
    bind(binding(1, files));
    const { user, password } = await steward.admit(files.id, 'ann', new AbortController().signal);
    expect(await readFile(join(root, 'users', user), 'utf8')).toBe(password);
    expect(steward.granted(files.id)).toEqual([binding(1, files).id]);
    await rm(join(root, 'users', user));
    instance = 'i-2' as InstanceId;
    steward.look();
    await untilUsersAre(...['b0000000100004000', user].sort());
    steward.dismiss(files.id, user);
    await untilUsersAre('b0000000100004000');
    expect(JSON.stringify([runner.started, events])).not.toContain(password);
  });

  it('lets in whom the service is exported to, until it is closed', async () => {
    const exported = { ...binding(9, files), node: 'n-1' as NodeId, host: '192.168.1.5', port: 5432, createdBy: 'ann' };
    view = viewOf([{ ...files, export: exported }], [binding(1, files)]);
    steward.look();
    await untilUsersAre('b0000000100004000', 'b0000000900004000');
    await vi.waitFor(() => expect(steward.granted(files.id)).toEqual([binding(1, files).id, exported.id]), 10_000);
    bind(binding(1, files));
    await untilUsersAre('b0000000100004000');
  });

  it('lets nobody in who has gone meanwhile, nor more than it may, nor where the service does not run', async () => {
    steward.look();
    const gone = AbortSignal.abort();
    await expect(steward.admit(files.id, 'ann', gone)).rejects.toThrow('did not let you in');
    const signal = new AbortController().signal;
    await Promise.all(Array.from({ length: GUESTS_MAX }, () => steward.admit(files.id, 'ann', signal)));
    await expect(steward.admit(files.id, 'ann', signal)).rejects.toThrow('16 people are connected to files already');
    expect(await users()).toHaveLength(GUESTS_MAX);
    instance = undefined;
    steward.look();
    await expect(steward.admit(files.id, 'ann', signal)).rejects.toThrow('files does not run here now');
  });

  it('tells of clients and data, and nothing of a service that runs elsewhere', async () => {
    bind(binding(1, files));
    expect(await steward.usage(files.id)).toEqual({ connections: 3, dataBytes: 4096 });
    instance = undefined;
    steward.look();
    expect(await steward.usage(files.id)).toBeUndefined();
    expect(steward.granted(files.id)).toBeUndefined();
  });
});
