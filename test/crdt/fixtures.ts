// Small documents and named changes for the tests of crdt/. Everything is deterministic: ids and writers are counted.

import type { AppSettings, ChangeAuthor, NamedChange } from '../../crdt/change.ts';
import type { NewVolume } from '../../crdt/change-data.ts';
import { DesiredDocument } from '../../crdt/document.ts';
import {
  type AppId,
  asAppId,
  asBindingId,
  asClusterId,
  asDigest,
  asLineageId,
  asNodeId,
  asReleaseId,
  asServiceId,
  asVolumeId,
  type ReleaseId,
} from '../../crdt/ids.ts';
import type { DesiredView } from '../../crdt/view.ts';

export const clusterId = asClusterId('c1'.repeat(16));
export const alice: ChangeAuthor = { by: 'alice', atMs: 1_000_000 };
export const at = (atMs: number): ChangeAuthor => ({ by: 'alice', atMs });
export const tokenHash = 'ab'.repeat(32);

/** A writer's id for replica number `index`. */
export const actor = (index: number): string => index.toString(16).padStart(32, '0');

let actorsGiven = 0x1000;
export const newActor = (): string => actor(actorsGiven++);

export const newCluster = { clusterId, name: 'test', domain: 'localhost', author: alice };

export const node = (index: number) => asNodeId(`12D3KooWnode${index}`);
export const app = (index: number): AppId => asAppId(`app-${index}`);
export const release = (index: number): ReleaseId => asReleaseId(`release-${index}`);
export const digest = (index: number) => asDigest(`sha256:${index.toString(16).padStart(64, '0')}`);

export const admitNode = (index: number): NamedChange => ({
  change: 'admitNode',
  node: node(index),
  name: `n${index}`,
  operatorTokenHash: tokenHash,
});

export const createApp = (
  index: number,
  more: { name?: string; settings?: AppSettings; env?: Record<string, string>; routes?: string[] } = {},
): NamedChange => ({
  change: 'createApp',
  app: app(index),
  name: more.name ?? `app${index}`,
  settings: more.settings ?? {},
  scale: {},
  env: more.env ?? {},
  routes: more.routes ?? [],
  stopped: false,
});

export const addRelease = (
  appIndex: number,
  releaseIndex: number,
  processes: Record<string, string> = { web: 'node server.js' },
): NamedChange => ({
  change: 'addRelease',
  app: app(appIndex),
  release: {
    id: release(releaseIndex),
    description: 'push',
    droplet: { digest: digest(releaseIndex), sizeBytes: 1000, stack: 'peer-1' },
    buildpack: 'node',
    processes,
  },
});

export const service = (index: number) => asServiceId(`service-${index}`);
export const volume = (index: number) => asVolumeId(`volume-${index}`);
export const binding = (index: number) => asBindingId(`binding-${index}`);

const MIB = 1024 ** 2;

/** Of the first app's first slot, on the first node, unless it is said otherwise. */
export const newVolume = (index: number, more: Partial<NewVolume> = {}): NewVolume => ({
  id: volume(index),
  owner: app(1),
  process: 'web',
  index: 0,
  path: '/data',
  sizeBytes: 1024 * MIB,
  node: node(1),
  lineage: asLineageId(`lineage-${index}`),
  snapshotEveryMs: 0,
  snapshotsKept: 0,
  onLoss: 'wait',
  ...more,
});

/** Its volume is the one of the number 100 higher. */
export function createService(index: number, kind = 'postgres', more: Partial<NewVolume> = {}): NamedChange {
  const common = { secret: `sealed:s${index}`, backupEveryMs: 0, backupsKept: 0 };
  const named = { change: 'createService', service: service(index), name: `db${index}`, kind, ...common } as const;
  if (kind === 'user-provided') {
    return { ...named, version: '', plan: '', memoryBytes: 0, storageBytes: 0, address: '' };
  }
  return {
    ...named,
    version: '15',
    plan: 'small',
    memoryBytes: 256 * MIB,
    storageBytes: 1024 * MIB,
    address: `198.18.0.${10 + index}`,
    volume: newVolume(100 + index, { owner: asAppId(service(index)), process: 'service', ...more }),
  };
}

export const exportService = (
  index: number,
  id: number | string,
  more: Partial<Extract<NamedChange, { change: 'exportService' }>> = {},
): NamedChange => ({
  change: 'exportService',
  service: service(index),
  export: typeof id === 'number' ? binding(id) : asBindingId(id),
  node: node(1),
  host: '192.168.1.5',
  port: 5432,
  secret: 'sealed:e',
  ...more,
});

export const bind = (
  index: number,
  serviceIndex: number,
  appIndex: number,
  more: Partial<Extract<NamedChange, { change: 'bindService' }>> = {},
): NamedChange => ({
  change: 'bindService',
  binding: binding(index),
  service: service(serviceIndex),
  app: app(appIndex),
  prefix: '',
  secret: `sealed:b${index}`,
  ...more,
});

/** A document to which the changes have been written one after the other. */
export function documentWith(changes: readonly NamedChange[], author: ChangeAuthor = alice): DesiredDocument {
  return writeAll(DesiredDocument.create(newCluster, actor(1)), changes, author);
}

export function writeAll(
  document: DesiredDocument,
  changes: readonly NamedChange[],
  author: ChangeAuthor = alice,
): DesiredDocument {
  return changes.reduce((current, change) => current.write([change], author)?.next ?? current, document);
}

/** Another replica, with a writer's id of its own. */
export const replicaOf = (document: DesiredDocument, index: number): DesiredDocument =>
  DesiredDocument.load(document.save(), { actor: actor(index), clusterId });

/** All that one has and the other has not, delivered. */
export const merged = (into: DesiredDocument, from: DesiredDocument): DesiredDocument =>
  into.receive(changesOf(from)).next;

export const changesOf = (document: DesiredDocument): Uint8Array[] => document.changesSince([]);

/** As plain data, maps as lists of entries, so that the order in them counts in a comparison. */
export const plain = (view: DesiredView): unknown =>
  JSON.parse(
    JSON.stringify(view, (_key, value: unknown) => {
      if (value instanceof Map) return [...value];
      return value instanceof Set ? [...value] : value;
    }),
  );
