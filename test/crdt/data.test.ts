// Volumes, services and bindings in the desired state: what people can ask for, what becomes of what was written
// apart, and what is to run because of it.

import { describe, expect, it } from 'vitest';
import type { NamedChange } from '../../crdt/change.ts';
import type { NewVolume } from '../../crdt/change-data.ts';
import type { DesiredDocument } from '../../crdt/document.ts';
import { ChangeRejected } from '../../crdt/errors.ts';
import { asAppId, asLineageId } from '../../crdt/ids.ts';
import { readView } from '../../crdt/read.ts';
import type { DesiredView } from '../../crdt/view.ts';
import {
  addRelease,
  admitNode,
  alice,
  app,
  at,
  bind,
  binding,
  createApp,
  createService,
  documentWith,
  exportService,
  merged,
  newVolume,
  node,
  plain,
  replicaOf,
  service,
  volume,
  writeAll,
} from './fixtures.ts';

const MIB = 1024 ** 2;
const base = [admitNode(1), admitNode(2), createApp(1), addRelease(1, 1), createApp(2), addRelease(2, 2)];
const start = documentWith(base);
const viewAfter = (...changes: NamedChange[]): DesiredView => writeAll(start, changes).view();
const createVolumes = (...volumes: NewVolume[]): NamedChange => ({ change: 'createVolumes', volumes });
const unbind = (index: number): NamedChange => ({ change: 'unbindService', binding: binding(index) });
const asWorkload = (view: DesiredView, index: number) => view.workloads.get(asAppId(service(index)))!;

function codeOf(...changes: NamedChange[]): string {
  const document = writeAll(start, changes.slice(0, -1));
  try {
    document.write(changes.slice(-1), alice);
  } catch (error) {
    if (error instanceof ChangeRejected) return error.code;
    throw error;
  }
  return 'allowed';
}

/** Two sides write apart, at 2 s and 3 s, and then hear of each other. */
function apart(before: NamedChange[], left: NamedChange[], right: NamedChange[]): DesiredDocument {
  const shared = writeAll(start, before);
  const one = writeAll(replicaOf(shared, 0x21), left, at(2_000_000));
  const two = writeAll(replicaOf(shared, 0x22), right, at(3_000_000));
  expect(plain(merged(two, one).view())).toEqual(plain(merged(one, two).view()));
  return merged(one, two);
}

describe('a volume', () => {
  it('belongs to a slot, is mounted, and is shown with its app', () => {
    const view = viewAfter(createVolumes(newVolume(1), newVolume(2, { index: 1, node: node(2) })));
    expect(view.volumes.get(volume(1))).toEqual({ ...newVolume(1), createdAtMs: alice.atMs, mounted: true });
    expect(view.apps.get(app(1))!.volumes.map((one) => one.id)).toEqual([volume(1), volume(2)]);
    expect(view.apps.get(app(2))!.volumes).toEqual([]);
    expect(view.workloads).toBe(view.apps);
  });

  it('can be given another size, copies, and another node', () => {
    const view = viewAfter(
      createVolumes(newVolume(1)),
      { change: 'configureVolume', volume: volume(1), sizeBytes: 2 * MIB, snapshotEveryMs: 60_000, onLoss: 'restore' },
      { change: 'moveVolume', volume: volume(1), node: node(2) },
    );
    expect(view.volumes.get(volume(1))).toMatchObject({
      ...{ sizeBytes: 2 * MIB, snapshotEveryMs: 60_000, onLoss: 'restore', node: node(2), movedFrom: node(1) },
      lineage: newVolume(1).lineage,
    });
  });

  it('with a hard quota says so, and never gets smaller', () => {
    const hard = newVolume(1, { hardQuota: true, sizeBytes: 64 * MIB });
    const resized = (sizeBytes: number): NamedChange => ({ change: 'configureVolume', volume: volume(1), sizeBytes });
    const view = viewAfter(createVolumes(hard, newVolume(2, { index: 1 })), resized(96 * MIB));
    expect(view.volumes.get(volume(1))).toMatchObject({ hardQuota: true, sizeBytes: 96 * MIB });
    expect(view.volumes.get(volume(2))).not.toHaveProperty('hardQuota');
    expect(codeOf(createVolumes(hard), resized(32 * MIB))).toBe('invalid_value');
  });

  it('has a new lineage after a recovery; of two made apart one holds', () => {
    const recover = (to: number, lineage: string): NamedChange => ({
      ...{ change: 'moveVolume', volume: volume(1), node: node(to) },
      lineage: asLineageId(lineage),
    });
    const found = apart([createVolumes(newVolume(1))], [recover(1, 'one')], [recover(2, 'two')]).view();
    const { node: pin, lineage } = found.volumes.get(volume(1))!;
    expect([
      [node(1), 'one'],
      [node(2), 'two'],
    ]).toContainEqual([pin, lineage]);
  });

  it('that was moved is left by the node before, once for each move, and moved again only then', () => {
    const move = (to: number): NamedChange => ({ change: 'moveVolume', volume: volume(1), node: node(to) });
    const leave = (from: number): NamedChange => ({ change: 'leaveVolume', volume: volume(1), node: node(from) });
    const movedFrom = (...changes: NamedChange[]) => {
      let document = writeAll(start, [createVolumes(newVolume(1))]);
      for (const [index, change] of changes.entries()) document = writeAll(document, [change], at(2_000_000 + index));
      return document.view().volumes.get(volume(1))!.movedFrom;
    };
    expect(movedFrom(move(2))).toBe(node(1));
    expect(movedFrom(move(2), leave(2))).toBe(node(1));
    expect(movedFrom(move(2), leave(1))).toBeUndefined();
    expect(movedFrom(move(2), leave(1), move(1), leave(2), move(2))).toBe(node(1));
    expect(codeOf(createVolumes(newVolume(1)), move(2), move(1))).toBe('volume_moving');
    const keep = (at: number): NamedChange => ({ change: 'keepVolume', volume: volume(1), node: node(at) });
    expect(movedFrom(move(2), keep(1))).toBeUndefined();
    expect(movedFrom(move(2), keep(1), leave(1), move(2))).toBe(node(1));
    expect(codeOf(createVolumes(newVolume(1)), move(2), keep(2))).toBe('volume_moving');
    expect(codeOf(createVolumes(newVolume(1)), move(2), leave(1), keep(1))).toBe('volume_moving');
    const recovered = { ...move(1), lineage: asLineageId('new') } as NamedChange;
    expect(movedFrom(move(2), recovered)).toBeUndefined();
  });

  it('moved on one side and recovered on the other has node and lineage of one of them', () => {
    const moved: NamedChange = { change: 'moveVolume', volume: volume(1), node: node(2) };
    const recovered: NamedChange = {
      change: 'moveVolume',
      volume: volume(1),
      node: node(1),
      lineage: asLineageId('new'),
    };
    const more: NamedChange[] = [1, 2, 3].map((web) => ({ change: 'scaleApp', app: app(1), scale: { web } }));
    for (const [left, right] of [
      [[moved], [recovered]],
      [[...more, moved], [recovered]],
      [[moved], [...more, recovered]],
    ] as const) {
      const { node: pin, lineage } = apart([createVolumes(newVolume(1))], [...left], [...right])
        .view()
        .volumes.get(volume(1))!;
      expect([`${node(2)} lineage-1`, `${node(1)} new`]).toContain(`${pin} ${lineage}`);
    }
  });

  it('stays without being mounted when its app is deleted, and goes by a wish of its own', () => {
    const made = [createVolumes(newVolume(1)), { change: 'deleteApp', app: app(1) } as const];
    expect(viewAfter(...made).volumes.get(volume(1))).toMatchObject({ mounted: false });
    expect(viewAfter(...made, { change: 'deleteVolume', volume: volume(1) }).volumes.size).toBe(0);
  });

  it('stays where it is when its node is removed', () => {
    const view = viewAfter(createVolumes(newVolume(1)), { change: 'removeNode', node: node(1) });
    expect(view.volumes.get(volume(1))).toMatchObject({ node: node(1), mounted: true });
  });

  it('made twice apart for one path is mounted once: the older, and the other is shown', () => {
    const view = apart([], [createVolumes(newVolume(2))], [createVolumes(newVolume(1))]).view();
    expect(view.apps.get(app(1))!.volumes.map((one) => one.id)).toEqual([volume(2)]);
    expect(view.volumes.get(volume(1))!.mounted).toBe(false);
    expect(view.conflicts).toEqual([{ kind: 'volume', winner: volume(2), loser: volume(1) }]);
  });

  it('is one of eight at most of a slot, also of those made apart', () => {
    const five = (from: number) =>
      createVolumes(...[0, 1, 2, 3, 4].map((add) => newVolume(from + add, { path: `/data${from + add}` })));
    const view = apart([], [five(10)], [five(20)]).view();
    expect(view.apps.get(app(1))!.volumes).toHaveLength(8);
    expect(view.problems.map((one) => one.record)).toEqual([`volumes/${volume(23)}`, `volumes/${volume(24)}`]);
    expect(codeOf(five(10), createVolumes(...[1, 2, 3, 4].map((add) => newVolume(add, { path: `/x${add}` }))))).toBe(
      'limit_reached',
    );
  });

  it.each<[string, Partial<NewVolume>, string]>([
    ['of no app', { owner: app(9) }, 'app_unknown'],
    ['on no node', { node: node(9) }, 'node_unknown'],
    ['of no size', { sizeBytes: 0 }, 'out_of_range'],
    ['of a slot that no process type has', { index: 100 }, 'out_of_range'],
    ['with an odd process type', { process: '../web' }, 'invalid_value'],
    ['copied every second', { snapshotEveryMs: 1_000 }, 'out_of_range'],
    ['with an odd word for a loss', { onLoss: 'pray' as 'wait' }, 'invalid_value'],
    ['too small for a disk of its own', { hardQuota: true, sizeBytes: 8 * MIB }, 'out_of_range'],
    ['with an odd word for its quota', { hardQuota: 'yes' as never }, 'invalid_value'],
    ['with an odd lineage', { lineage: '../x' as NewVolume['lineage'] }, 'invalid_id'],
  ])('%s is refused', (_what, more, code) => {
    expect(codeOf(createVolumes(newVolume(1, more)))).toBe(code);
  });

  it.each([
    ...['data', '/', '/data/', '/a//b', '/../x', '/a/./b', '/proc', '/proc/x', '/usr/local', '/etc/ssl', '/lib64'],
    ...['/home/vcap/app', '/home/vcap', '/tmp', '/da ta', '/da\nta', `/${'x'.repeat(255)}`],
  ])('at %j is refused', (path) => {
    expect(codeOf(createVolumes(newVolume(1, { path })))).toBe('invalid_value');
  });

  it.each(['/data', '/home/vcap/app/uploads', '/var/lib/data', '/library', '/data/.hidden'])(
    'at %s is fine',
    (path) => {
      expect(codeOf(createVolumes(newVolume(1, { path })))).toBe('allowed');
    },
  );

  it('that is there already, unknown, or the data of a service, is refused', () => {
    expect(codeOf(createVolumes(newVolume(1)), createVolumes(newVolume(2)))).toBe('volume_exists');
    expect(codeOf(createVolumes(newVolume(1), newVolume(1, { path: '/other' })))).toBe('volume_exists');
    expect(codeOf({ change: 'deleteVolume', volume: volume(1) })).toBe('volume_unknown');
    expect(codeOf({ change: 'moveVolume', volume: volume(1), node: node(1) })).toBe('volume_unknown');
    expect(codeOf(createService(1), { change: 'deleteVolume', volume: volume(101) })).toBe('volume_in_use');
    expect(codeOf(createVolumes())).toBe('limit_reached');
  });
});

describe('a service', () => {
  it('is there with its volume, and is to run as one slot', () => {
    const view = viewAfter(createService(1));
    const made = view.services.get(service(1))!;
    expect(made).toMatchObject({
      name: 'db1',
      ownsName: true,
      kind: 'postgres',
      version: '15',
      address: '198.18.0.11',
    });
    expect(made.volume).toMatchObject({ id: volume(101), node: node(1), path: '/data', mounted: true });
    expect(asWorkload(view, 1)).toMatchObject({
      ...{
        name: 'db1',
        scale: { service: 1 },
        memoryBytes: 256 * MIB,
        strategy: 'recreate',
        routes: [],
        stopped: false,
      },
      volumes: [made.volume],
      release: { processes: { service: '' }, service: made, droplet: { sizeBytes: 0 } },
    });
    expect([...view.workloads.keys()]).toEqual([...view.workloads.keys()].toSorted());
    expect(view.apps.has(asAppId(service(1)))).toBe(false);
  });

  it('is started anew for another version, plan or memory, and for nothing else', () => {
    const release = (...changes: NamedChange[]) => asWorkload(viewAfter(createService(1), ...changes), 1).release!.id;
    const configure = (more: object): NamedChange => ({ change: 'configureService', service: service(1), ...more });
    const first = release();
    expect(release(configure({ backupEveryMs: 60_000, backupsKept: 3, secret: 'sealed:new' }))).toBe(first);
    expect(release(configure({ storageBytes: 512 * MIB }))).toBe(first);
    const others = [{ version: '16' }, { plan: 'large' }, { memoryBytes: 512 * MIB }].map(configure);
    expect(new Set([first, ...others.map((one) => release(one))]).size).toBe(4);
    expect(
      asWorkload(viewAfter(createService(1), { change: 'restartService', service: service(1) }), 1).restartCount,
    ).toBe(1);
  });

  it('that was upgraded has its new data in the new version, and what was before until a person decides', () => {
    const [one, two] = [asLineageId('one'), asLineageId('two')];
    const upgrade: NamedChange = {
      ...{ change: 'upgradeService', service: service(1), version: '16', node: node(2), lineage: one },
    };
    const revert: NamedChange = { change: 'revertService', service: service(1), lineage: two };
    const confirm: NamedChange = { change: 'confirmService', service: service(1) };
    const found = (...changes: NamedChange[]) => {
      const { version, volume } = viewAfter(createService(1), ...changes).services.get(service(1))!;
      return { version, node: volume!.node, lineage: volume!.lineage, before: volume!.before };
    };
    const old = found();
    const { before: _, ...was } = old;
    expect(found(upgrade)).toEqual({ version: '16', node: node(2), lineage: one, before: was });
    expect(found(upgrade, revert)).toEqual({ ...was, lineage: two, before: undefined });
    expect(found(upgrade, confirm)).toEqual({ version: '16', node: node(2), lineage: one, before: undefined });
    const moved: NamedChange = { change: 'moveVolume', volume: volume(101), node: node(1), lineage: asLineageId('l') };
    expect(found(upgrade, moved)).toMatchObject({ version: '16', node: node(1), before: was });
    expect(codeOf(createService(1), revert)).toBe('no_upgrade');
    expect(codeOf(createService(1), upgrade, confirm, confirm)).toBe('no_upgrade');
    expect(codeOf(createService(1), upgrade, { ...upgrade, version: '17' } as NamedChange)).toBe('upgrade_unconfirmed');
    expect(codeOf(createService(1), { ...upgrade, version: old.version } as NamedChange)).toBe('invalid_value');
  });

  it('upgraded on one side and recovered on the other has the engine that its data is for', () => {
    const [one, two] = [asLineageId('one'), asLineageId('two')];
    const upgrade: NamedChange = {
      ...{ change: 'upgradeService', service: service(1), version: '16', node: node(2), lineage: one },
    };
    const recover: NamedChange = { change: 'moveVolume', volume: volume(101), node: node(2), lineage: two };
    for (const [left, right] of [
      [[upgrade], [recover]],
      [[recover], [upgrade]],
    ] as const) {
      const { version, volume } = apart([createService(1)], [...left], [...right])
        .view()
        .services.get(service(1))!;
      expect([`${one} 16`, `${two} 15`]).toContain(`${volume!.lineage} ${version}`);
    }
  });

  it('has its storage as the size of its volume', () => {
    const change: NamedChange = { change: 'configureService', service: service(1), storageBytes: 512 * MIB };
    const view = viewAfter(createService(1), change);
    expect(view.services.get(service(1))).toMatchObject({ storageBytes: 512 * MIB, volume: { sizeBytes: 512 * MIB } });
  });

  it('is stopped and started, and goes with its volume', () => {
    const stop = (stopped: boolean): NamedChange => ({ change: 'setServiceStopped', service: service(1), stopped });
    expect(asWorkload(viewAfter(createService(1), stop(true)), 1).stopped).toBe(true);
    expect(asWorkload(viewAfter(createService(1), stop(true), stop(false)), 1).stopped).toBe(false);
    const gone = viewAfter(createService(1), { change: 'deleteService', service: service(1) });
    expect([gone.services.size, gone.volumes.size, gone.workloads.size]).toEqual([0, 0, 2]);
  });

  it('that is user-provided runs nowhere', () => {
    const view = viewAfter(createService(1, 'user-provided'));
    expect(view.services.get(service(1))).toMatchObject({ kind: 'user-provided', address: '', volume: undefined });
    expect(view.workloads).toBe(view.apps);
    expect(codeOf(createService(1, 'user-provided'), { change: 'restartService', service: service(1) })).toBe(
      'service_provided',
    );
  });

  it('of one name or address made apart: the older has it, the other is shown and gets the next address', () => {
    const second = { ...createService(2), name: 'db1', address: '198.18.0.11' } as NamedChange;
    const view = apart([], [createService(1)], [second]).view();
    expect(view.services.get(service(1))).toMatchObject({ ownsName: true, address: '198.18.0.11' });
    expect(view.services.get(service(2))).toMatchObject({ ownsName: false, address: '198.18.0.12' });
    expect(view.conflicts).toEqual([{ kind: 'serviceName', name: 'db1', winner: service(1), loser: service(2) }]);
    expect(view.problems.map((one) => one.record)).toEqual([`services/${service(2)}/address`]);
  });

  it('never gets an address that another says, however many were made with one', () => {
    const doc = start.write([createService(1)], alice)!.next;
    const same = (index: number) => ({ ...createService(index), address: '198.18.0.254' }) as NamedChange;
    const left = writeAll(replicaOf(doc, 0x31), [same(2)]);
    const right = writeAll(replicaOf(doc, 0x32), [same(3)]);
    const third = writeAll(replicaOf(doc, 0x33), [{ ...createService(4), address: '198.18.1.1' } as NamedChange]);
    const view = merged(merged(left, right), third).view();
    expect([...view.services.values()].map((one) => one.address)).toEqual([
      ...['198.18.0.11', '198.18.0.254', '198.18.1.2', '198.18.1.1'],
    ]);
  });

  it.each<[string, object, string]>([
    ['with an odd name', { name: 'Db' }, 'invalid_name'],
    ['with an odd kind', { kind: 'Postgres' }, 'invalid_value'],
    ['with an odd version', { version: 'latest' }, 'invalid_value'],
    ['with an odd plan', { plan: '' }, 'invalid_value'],
    ['without a volume', { volume: undefined }, 'invalid_value'],
    ['with the volume of another', { volume: newVolume(9) }, 'invalid_value'],
    ['with too little memory', { memoryBytes: 1 }, 'out_of_range'],
    ['at an address of the internet', { address: '8.8.8.8' }, 'invalid_value'],
    ['at an address that ends in 0', { address: '198.18.1.0' }, 'invalid_value'],
    ['at an address written otherwise', { address: '198.18.01.1' }, 'invalid_value'],
    ['without a secret', { secret: '' }, 'invalid_value'],
    ['of an app', { service: app(1) }, 'service_exists'],
  ])('%s is refused', (_what, more, code) => {
    expect(codeOf({ ...createService(1), ...more } as NamedChange)).toBe(code);
  });

  it('whose name or address is taken is refused, as is one that is user-provided and has an engine', () => {
    expect(codeOf(createService(1), { ...createService(2), name: 'db1' } as NamedChange)).toBe('service_exists');
    expect(codeOf(createService(1), { ...createService(2), address: '198.18.0.11' } as NamedChange)).toBe(
      'address_taken',
    );
    expect(codeOf({ ...createService(1), kind: 'user-provided' } as NamedChange)).toBe('invalid_value');
  });
});

describe('an export of a service', () => {
  const unexport: NamedChange = { change: 'unexportService', service: service(1) };

  it('is there with who made it, until it is closed; it neither starts the service anew nor shows its secret', () => {
    const view = viewAfter(createService(1), exportService(1, 7));
    expect(view.services.get(service(1))!.export).toEqual({
      ...{ id: binding(7), node: node(1), host: '192.168.1.5', port: 5432, secret: 'sealed:e' },
      ...{ createdAtMs: alice.atMs, createdBy: alice.by },
    });
    const before = asWorkload(viewAfter(createService(1)), 1);
    expect(asWorkload(view, 1).release!.id).toBe(before.release!.id);
    expect(asWorkload(view, 1).restartCount).toBe(before.restartCount);
    expect(viewAfter(createService(1), exportService(1, 7), unexport).services.get(service(1))!.export).toBeUndefined();
  });

  it('made on both sides is one of the two whole', () => {
    const other = exportService(1, 8, { node: node(2), host: '::1', port: 6000, secret: 'sealed:f' });
    const { export: open } = apart([createService(1)], [exportService(1, 7)], [other])
      .view()
      .services.get(service(1))!;
    expect([
      [binding(7), node(1), '192.168.1.5', 5432, 'sealed:e'],
      [binding(8), node(2), '::1', 6000, 'sealed:f'],
    ]).toContainEqual([open!.id, open!.node, open!.host, open!.port, open!.secret]);
  });

  it('is refused a second time, at the port of another, and at what is no address and port of a node', () => {
    expect(codeOf(createService(1), exportService(1, 7), exportService(1, 8))).toBe('already_exported');
    expect(codeOf(createService(1), createService(2), exportService(1, 7), exportService(2, 8))).toBe(
      'already_exported',
    );
    expect(codeOf(createService(1), exportService(1, 7, { host: 'db.example.org' }))).toBe('invalid_value');
    expect(codeOf(createService(1), exportService(1, 7, { port: 443 }))).toBe('out_of_range');
    expect(codeOf(createService(1), exportService(1, 7, { node: node(9) }))).toBe('node_unknown');
    expect(codeOf(createService(1), unexport)).toBe('not_exported');
    expect(codeOf(exportService(1, 7))).toBe('service_unknown');
  });
});

describe('a binding', () => {
  it('is there, and has the app started anew', () => {
    const view = viewAfter(createService(1), bind(1, 1, 1));
    expect(view.bindings.get(binding(1))).toEqual({
      ...{ id: binding(1), service: service(1), app: app(1), prefix: '', secret: 'sealed:b1' },
      createdAtMs: alice.atMs,
    });
    expect(view.apps.get(app(1))!.restartCount).toBe(1);
    expect(viewAfter(createService(1), bind(1, 1, 1), unbind(1)).bindings.size).toBe(0);
    expect(viewAfter(createService(1), bind(1, 1, 1), unbind(1)).apps.get(app(1))!.restartCount).toBe(2);
  });

  it('is rotated by another that replaces it', () => {
    const view = viewAfter(createService(1), bind(1, 1, 1), bind(2, 1, 1, { replaces: binding(1) }));
    expect([...view.bindings.keys()]).toEqual([binding(2)]);
  });

  it('rotated on both sides is the newer one, and none is left once it is taken away', () => {
    const document = apart(
      [createService(1), bind(1, 1, 1)],
      [bind(2, 1, 1, { replaces: binding(1) })],
      [bind(3, 1, 1, { replaces: binding(1) })],
    );
    expect([...document.view().bindings.keys()]).toEqual([binding(3)]);
    const gone = document.write([unbind(3)], alice)!.next.view();
    expect([gone.bindings.size, gone.problems]).toEqual([0, []]);
  });

  it('goes with its app, and keeps its service from going', () => {
    expect(viewAfter(createService(1), bind(1, 1, 1), { change: 'deleteApp', app: app(1) }).bindings.size).toBe(0);
    expect(codeOf(createService(1), bind(1, 1, 1), { change: 'deleteService', service: service(1) })).toBe(
      'service_bound',
    );
  });

  it('of a service that was deleted on the other side is gone with it', () => {
    const remove: NamedChange = { change: 'deleteService', service: service(1) };
    const view = apart([createService(1)], [bind(1, 1, 1)], [remove]).view();
    expect([view.bindings.size, view.problems]).toEqual([0, []]);
  });

  it.each<[string, NamedChange, string]>([
    ['of no service', bind(2, 9, 1), 'service_unknown'],
    ['of no app', bind(2, 1, 9), 'app_unknown'],
    ['of what is bound', bind(2, 1, 1), 'already_bound'],
    ['in place of one that is not', bind(2, 1, 2, { replaces: binding(1) }), 'not_bound'],
    ['with an odd prefix', bind(2, 1, 2, { prefix: 'a' }), 'invalid_value'],
    ['without a secret', bind(2, 1, 2, { secret: '' }), 'invalid_value'],
    ['under an id that is taken', bind(1, 1, 2), 'already_bound'],
    ['to be taken away that is not there', unbind(2), 'not_bound'],
  ])('%s is refused', (_what, change, code) => {
    expect(codeOf(createService(1), bind(1, 1, 1), change)).toBe(code);
  });
});

describe('the history', () => {
  it('shows who asked for what data, by app and by service, and no secret', () => {
    const document = writeAll(start, [
      createVolumes(newVolume(1)),
      createService(1),
      { change: 'configureService', service: service(1), secret: 'sealed:again' },
      bind(1, 1, 1),
      { change: 'moveVolume', volume: volume(101), node: node(2) },
    ]);
    const names = (about: string) =>
      document.history(50, about).flatMap((one) => one.changes.map(({ change }) => change));
    expect(names(app(1)).slice(0, 2)).toEqual(['bindService', 'createVolumes']);
    expect(names(service(1))).toEqual(['moveVolume', 'bindService', 'configureService', 'createService']);
    expect(document.history(1)[0]!.changes).toEqual([
      { change: 'moveVolume', service: service(1), name: 'db1', process: 'service', index: 0, path: '/data', to: 'n2' },
    ]);
    expect(JSON.stringify(document.history(50))).not.toContain('sealed:');
  });
});

describe('odd records of data', () => {
  it('are left out one by one, and said', () => {
    const odd = { services: { a: 1, b: { name: 'x' } }, volumes: { '..': {}, v: { owner: 'a' } }, bindings: { z: [] } };
    const view = readView({ ...odd, apps: {} });
    expect([view.services.size, view.volumes.size, view.bindings.size]).toEqual([0, 0, 0]);
    expect(view.problems.map((one) => `${one.record} ${one.outcome}`)).toEqual([
      'services/a left out',
      'services/b left out',
      'volumes/.. left out',
      'volumes/v left out',
      'bindings/z left out',
    ]);
  });

  it('that say what no upgrade is are read as if they said nothing of one', () => {
    const data = { owner: service(1), process: 'service', index: 0, path: '/data' };
    const db = {
      name: 'db',
      kind: 'postgres',
      version: '15',
      plan: 'small',
      secret: 'sealed:x',
      address: '198.18.0.11',
    };
    const found = (more: object) => {
      const home = { node: node(1), lineage: 'now', ...more };
      const view = readView({ apps: {}, services: { [service(1)]: db }, volumes: { v: { ...data, home } } });
      const { version, volume } = view.services.get(service(1))!;
      return { version, before: volume!.before };
    };
    const before = { node: node(2), lineage: 'old', version: '14' };
    expect(found({ version: '16', before })).toEqual({ version: '16', before });
    expect(found({ version: '../16', before })).toEqual({ version: '15', before: undefined });
    for (const odd of [7, [], {}, { ...before, lineage: 'now' }, { ...before, node: {} }, { ...before, version: '' }]) {
      expect(found({ version: '16', before: odd })).toEqual({ version: '16', before: undefined });
    }
  });

  it('of a missing map are none', () => {
    expect(readView({ apps: {} })).toMatchObject({ services: new Map(), volumes: new Map(), bindings: new Map() });
  });
});
