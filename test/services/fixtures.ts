// Views with services and bindings, and a kind whose engine is a folder: its accesses are files there.

import { asAppId, asBindingId, asInstanceId, asLineageId, asNodeId, asServiceId, asVolumeId } from '../../crdt/ids.ts';
import type { BindingView, DesiredView, ServiceView } from '../../crdt/view.ts';
import type { ServiceKind } from '../../node/ports/services.ts';
import { app, desired } from '../core/little-cluster.ts';

const MIB = 1024 ** 2;
export const NODE = asNodeId('n1');
export const INSTANCE = asInstanceId('i-1');

export function service(name: string, options: Partial<ServiceView> = {}): ServiceView {
  const id = options.id ?? asServiceId(`service-${name}`);
  return {
    id,
    name,
    ownsName: true,
    kind: 'folder',
    version: '1',
    plan: 'small',
    memoryBytes: 64 * MIB,
    storageBytes: 1024 * MIB,
    address: '198.18.0.1',
    stopped: false,
    restartCount: 0,
    createdAtMs: 0,
    createdBy: 'ada',
    secret: `sealed service/${id} administrator`,
    backupEveryMs: 0,
    backupsKept: 7,
    volume: {
      id: asVolumeId(`volume-${name}`),
      owner: asAppId(id),
      process: 'service',
      index: 0,
      path: '/data',
      sizeBytes: 1024 * MIB,
      node: NODE,
      lineage: asLineageId('l1'),
      snapshotEveryMs: 0,
      snapshotsKept: 0,
      onLoss: 'wait',
      createdAtMs: 0,
      mounted: true,
    },
    ...options,
  };
}

export function binding(number: number, to: ServiceView, options: Partial<BindingView> = {}): BindingView {
  const id = asBindingId(`0000000${number}-0000-4000-8000-000000000000`);
  return {
    id,
    service: to.id,
    app: asAppId('app-shop'),
    prefix: '',
    secret: `sealed binding/${id} password${number}`,
    createdAtMs: number,
    ...options,
  };
}

export function viewOf(services: readonly ServiceView[], bindings: readonly BindingView[]): DesiredView {
  return desired([NODE], [app('shop')], {
    services: new Map(services.map((one) => [one.id, one])),
    bindings: new Map(bindings.map((one) => [one.id, one])),
  });
}

/** Opens what these views hold; as real sealing does, only for the context that it was sealed for. */
export function open(context: string, sealed: string): string {
  const [mark, sealedFor, plain] = sealed.split(' ');
  if (mark !== 'sealed' || sealedFor !== context || plain === undefined) throw new Error(`not sealed for ${context}`);
  return plain;
}

/**
 * An engine of a few shell commands over the folder `root`: `users/NAME` holds a password, `content` the data. Its
 * backups begin with FOLDER.
 */
export function folderKind(root: string): ServiceKind {
  const sh = (script: string) => ({ argv: ['/bin/sh', '-c', `cd ${root} && ${script}`] });
  const plan = { memoryBytes: 64 * MIB, storageBytes: 1024 * MIB, connections: 10 };
  return {
    name: 'folder',
    tags: ['files'],
    port: 70,
    plans: { small: plan, medium: plan, large: plan },
    least: plan,
    debianPackage: 'coreutils',
    find: async () => [{ version: '1', programs: {} }],
    program: () => ({ command: 'cat', env: {}, files: {}, stopSignal: 'SIGTERM', stopGraceMs: 1_000 }),
    probe: () => sh('test -d users'),
    accesses: () => sh('ls users'),
    grant: (_context, { user, password }) => ({ ...sh(`cat > users/${user}`), stdin: password }),
    revoke: (_context, user) => sh(`rm -f users/${user}`),
    credentials: ({ user, password, database }, { host, port }) => ({
      uri: `folder://${user}:${password}@${host}:${port}/${database}`,
      username: user,
      password,
    }),
    environment: ({ user, password }, { host, port }) => ({
      FOLDER_URL: `folder://${user}:${password}@${host}:${port}`,
    }),
    usage: () => sh('echo 3 4096'),
    backup: () => sh('printf FOLDER && cat content'),
    restore: () => sh('cat > incoming && head -c 6 incoming | grep -q FOLDER && tail -c +7 incoming > content'),
    check: () => sh('wc -c < content'),
    backupMagic: Buffer.from('FOLDER'),
  };
}
