// A wish for a service as the change that makes it: which version and plan, on which node, with which address and
// password. Writes nothing.

import { randomUUID } from 'node:crypto';
import type { NamedChange } from '../../crdt/change.ts';
import { asAppId, asBindingId, asLineageId, asServiceId, asVolumeId, type NodeId } from '../../crdt/ids.ts';
import { SERVICE_PROCESS, SERVICE_VOLUME_PATH, USER_PROVIDED } from '../../crdt/limits-data.ts';
import { bindingContext, serviceContext } from '../../crdt/sealed.ts';
import type { AppView, DesiredView, ServiceView } from '../../crdt/view.ts';
import { serviceAddress } from '../core/service-address.ts';
import { newPassword } from '../identity/passwords.ts';
import { formatBytes } from '../lib/format-bytes.ts';
import type { NodeService, ObservedView } from '../ports/node-service.ts';
import type { PlanName, ServicePlan } from '../ports/services.ts';
import type { KindInfo } from '../ports/services-desk.ts';
import { enginesOf } from './engines.ts';
import { ApiError } from './errors.ts';
import { findService, nodeNamed } from './lookup.ts';
import { pinFor } from './pinning.ts';

export type ServiceWish = {
  name: string;
  kind: string;
  plan?: string | undefined;
  version?: string | undefined;
  memoryBytes?: number | undefined;
  storageBytes?: number | undefined;
  /** Name or id of the only node that may have it. */
  node?: string | undefined;
  backupEveryMs?: number | undefined;
  backupsKept?: number | undefined;
  /** Its log of changes is kept. */
  wal?: boolean | undefined;
};

type CreateService = Extract<NamedChange, { change: 'createService' }>;
type BindService = Extract<NamedChange, { change: 'bindService' }>;
type Asked = Pick<NodeService, 'kinds' | 'secrets' | 'view' | 'observed'>;

const PLAN_DEFAULT: PlanName = 'small';
const BACKUP_EVERY_MS_DEFAULT = 24 * 60 * 60 * 1000;
const BACKUPS_KEPT_DEFAULT = 7;
/** Routes of the API of the same form. */
const RESERVED_NAMES: readonly string[] = ['kinds'];

/** `pending`: services asked for in the same write. Fails with ApiError when it cannot be. */
export function newService(asked: Asked, wish: ServiceWish, pending: readonly CreateService[] = []): CreateService {
  expectFreeName(asked.view(), wish.name, pending);
  const kind = kindNamed(asked.kinds(), wish.kind);
  if (wish.wal === true) expectLog(kind);
  const { plan, limits } = planNamed(kind, wish.plan ?? PLAN_DEFAULT);
  const id = asServiceId(randomUUID());
  const memoryBytes = wish.memoryBytes ?? limits.memoryBytes;
  const storageBytes = wish.storageBytes ?? limits.storageBytes;
  expectEnough(kind, { memoryBytes, storageBytes });
  const { version, node } = placeOf(asked, { ...wish, id, memoryBytes }, kind, pending);
  return {
    change: 'createService',
    service: id,
    name: wish.name,
    kind: kind.name,
    version,
    plan,
    memoryBytes,
    storageBytes,
    address: freeAddress(asked.view(), id, pending),
    secret: asked.secrets.seal(serviceContext(id), newPassword()),
    backupEveryMs: wish.backupEveryMs ?? BACKUP_EVERY_MS_DEFAULT,
    backupsKept: wish.backupsKept ?? BACKUPS_KEPT_DEFAULT,
    ...(wish.wal === true ? { wal: true } : {}),
    volume: {
      id: asVolumeId(randomUUID()),
      owner: asAppId(id),
      process: SERVICE_PROCESS,
      index: 0,
      path: SERVICE_VOLUME_PATH,
      sizeBytes: storageBytes,
      node,
      lineage: asLineageId(randomUUID()),
      snapshotEveryMs: 0,
      snapshotsKept: 0,
      onLoss: 'wait',
    },
  };
}

/** One that runs nowhere here: its credentials are all that is kept. */
export function providedService(asked: Asked, name: string, credentials: Record<string, unknown>): CreateService {
  expectFreeName(asked.view(), name, []);
  const id = asServiceId(randomUUID());
  return {
    change: 'createService',
    service: id,
    name,
    kind: USER_PROVIDED,
    version: '',
    plan: '',
    memoryBytes: 0,
    storageBytes: 0,
    address: '',
    secret: sealedCredentials(asked, id, credentials),
    backupEveryMs: 0,
    backupsKept: 0,
  };
}

export const sealedCredentials = (
  { secrets }: Pick<Asked, 'secrets'>,
  service: ServiceView['id'],
  credentials: Record<string, unknown>,
): string => secrets.seal(serviceContext(service), JSON.stringify(credentials));

/** With a password of its own. `replaces`: the binding whose place it takes. */
export function newBinding(
  { secrets }: Pick<Asked, 'secrets'>,
  { service, app, prefix, replaces }: Pick<BindService, 'service' | 'app' | 'prefix' | 'replaces'>,
): BindService {
  const binding = asBindingId(randomUUID());
  const secret = secrets.seal(bindingContext(binding), newPassword());
  const change: BindService = { change: 'bindService', binding, service, app, prefix, secret };
  return replaces === undefined ? change : { ...change, replaces };
}

export const bindingOf = (view: DesiredView, service: ServiceView['id'], app: AppView['id']) =>
  [...view.bindings.values()].find((one) => one.service === service && one.app === app);

/** Fails where no log of changes could be kept. */
export function expectLog({ name, hasLog }: KindInfo): void {
  if (hasLog === true) return;
  throw new ApiError('bad_request', `wal: ${name} has no log of changes that could be kept; it has backups`);
}

function expectFreeName(view: DesiredView, name: string, pending: readonly CreateService[]): void {
  if (RESERVED_NAMES.includes(name)) {
    throw new ApiError('bad_request', `name: ${name} is a word of the command line: choose another`);
  }
  if (findService(view, name)?.name === name || pending.some((one) => one.name === name)) {
    throw new ApiError('service_exists', `there is a service ${name} already: choose another name, or bind to it`);
  }
}

export function kindNamed(kinds: readonly KindInfo[], name: string): KindInfo {
  const kind = kinds.find((one) => one.name === name);
  if (kind !== undefined) return kind;
  const names = kinds.map((one) => one.name).join(', ');
  const known = names === '' ? 'this node knows none' : `it is one of ${names}`;
  const provided = name === USER_PROVIDED ? 'peer service provide NAME takes credentials of your own' : undefined;
  throw new ApiError('kind_unknown', `there is no kind of service ${name}: ${provided ?? known}`);
}

export function planNamed(kind: KindInfo, name: string): { plan: string; limits: ServicePlan } {
  if (!Object.hasOwn(kind.plans, name)) {
    const known = Object.keys(kind.plans).join(', ');
    throw new ApiError('plan_unknown', `${kind.name} has no plan ${name}: it is one of ${known}`);
  }
  return { plan: name, limits: kind.plans[name as PlanName] };
}

/** With less it would be made, and never run. */
export function expectEnough(
  { name, least }: KindInfo,
  given: Pick<ServicePlan, 'memoryBytes' | 'storageBytes'>,
): void {
  for (const [field, what] of [
    ['memoryBytes', 'memory'],
    ['storageBytes', 'storage'],
  ] as const) {
    if (given[field] >= least[field]) continue;
    throw new ApiError('bad_request', `${field}: ${name} takes at least ${formatBytes(least[field])} of ${what}`);
  }
}

/** The newest version that some node can take it with, unless the wish names one. */
function placeOf(
  asked: Asked,
  wish: ServiceWish & { id: string; memoryBytes: number },
  kind: KindInfo,
  pending: readonly CreateService[],
): { version: string; node: NodeId } {
  const desired = asked.view();
  const observed = asked.observed();
  const only = wish.node === undefined ? undefined : nodeNamed(desired, wish.node).id;
  const versions = versionsFor(wish, kind, observed, only, desired);
  const question = {
    view: desired,
    observed,
    pending: pending.flatMap(({ volume }) => (volume === undefined ? [] : [volume])),
  };
  let refusal: unknown;
  for (const version of versions) {
    const engine = `${kind.name} ${version}`;
    const owner = asAppId(wish.id);
    try {
      const node = pinFor(
        question,
        { owner, key: wish.id, memoryBytes: wish.memoryBytes, needs: { service: { kind: kind.name, version } } },
        engine,
        only,
      );
      return { version, node };
    } catch (error) {
      refusal ??= error;
    }
  }
  throw refusal;
}

function versionsFor(
  wish: ServiceWish,
  kind: KindInfo,
  observed: ObservedView,
  only: NodeId | undefined,
  view: DesiredView,
): string[] {
  const found = enginesOf(kind.name, observed);
  const here = only === undefined ? found : found.filter(({ nodes }) => nodes.some(({ id }) => id === only));
  const wanted = wish.version === undefined ? here : here.filter(({ version }) => version === wish.version);
  if (wanted.length > 0) return wanted.map(({ version }) => version);
  const engine = wish.version === undefined ? kind.name : `${kind.name} ${wish.version}`;
  const lacking =
    only === undefined ? `no living node has ${engine}` : `${view.nodes.get(only)?.name} has no ${engine}`;
  const others = found.map(({ version, nodes }) => `${version} on ${nodes.map(({ name }) => name).join(', ')}`);
  const advice =
    others.length === 0
      ? `install ${kind.debianPackage} on one (Debian), and restart its node as root`
      : `there is ${others.join('; ')}`;
  const isVersion = wish.version !== undefined && others.length > 0;
  throw new ApiError(isVersion ? 'version_unknown' : 'no_node_for_data', `${lacking}: ${advice}`);
}

function freeAddress(view: DesiredView, seed: string, pending: readonly CreateService[]): string {
  const taken = [...view.services.values(), ...pending].map(({ address }) => address);
  return serviceAddress(new Set(taken), seed);
}
