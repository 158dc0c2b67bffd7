// Services, kinds and volumes as people read them. Pure.

import type {
  BackupShape,
  KindShape,
  ServiceShape,
  ServiceSummaryShape,
  VolumeShape,
} from '../../node/api/data-shapes.ts';
import { formatAge, formatBytes } from '../format.ts';
import type { Output } from '../output.ts';
import { type Column, renderTable } from '../table.ts';

type Shown = Pick<Output, 'colours' | 'width'>;

const WELL: readonly string[] = ['ready', 'provided', 'alive'];
const ILL: readonly string[] = ['crashed', 'dead', 'removed', 'left'];

function paintState(text: string, state: string, colours: Output['colours']): string {
  if (WELL.includes(state)) return colours.green(text);
  if (state === 'stopped') return colours.dim(text);
  return ILL.includes(state.replace(/^node /, '')) ? colours.red(text) : colours.yellow(text);
}

export function servicesTable(services: readonly ServiceSummaryShape[], { colours, width }: Shown): string {
  return renderTable<ServiceSummaryShape>(
    [
      { title: 'NAME', cell: (one) => (one.ownsName ? one.name : `${one.name} (${one.id})`) },
      { title: 'KIND', cell: (one) => `${one.kind} ${one.version}`.trim() },
      { title: 'PLAN', cell: (one) => one.plan, importance: 1 },
      { title: 'STATE', cell: (one) => one.state, paint: (text, one) => paintState(text, one.state, colours) },
      { title: 'NODE', cell: (one) => one.node ?? '', importance: 2 },
      { title: 'BOUND TO', cell: (one) => one.bindings.join(', ') },
    ],
    services,
    width,
  );
}

const PROOF_PAINTS = { proven: 'green', skipped: 'yellow', failed: 'red' } as const;

/** `named`: they are of several services. */
export function backupsTable(
  backups: readonly BackupShape[],
  { colours, width, named }: Shown & { named: boolean },
): string {
  const names: Column<BackupShape>[] = named
    ? [
        { title: 'SERVICE', cell: (one) => one.name },
        { title: 'SERVICE ID', cell: (one) => one.service, importance: 0 },
      ]
    : [];
  return renderTable<BackupShape>(
    [
      { title: 'BACKUP', cell: (one) => one.id },
      ...names,
      { title: 'KIND', cell: (one) => `${one.kind} ${one.version}`, importance: 1 },
      { title: 'AGE', cell: (one) => formatAge(one.ageMs), align: 'right' },
      { title: 'SIZE', cell: (one) => formatBytes(one.sizeBytes), align: 'right' },
      {
        title: 'PROVEN',
        cell: ({ proof }) =>
          proof === null ? 'not tried' : proof.state === 'proven' ? `yes: ${proof.text}` : proof.text,
        paint: (text, { proof }) => (proof === null ? text : colours[PROOF_PAINTS[proof.state]](text)),
      },
      { title: 'HELD BY', cell: (one) => one.heldBy.join(', '), importance: 2 },
    ],
    backups,
    width,
  );
}

type PlanRow = { kind: string; plan: string; limits: KindShape['plans'][string]; versions: string; install: string };

export function kindsTable(kinds: readonly KindShape[], { width }: Shown): string {
  const rows = kinds.flatMap(({ kind, plans, versions, debianPackage }): PlanRow[] =>
    Object.entries(plans).map(([plan, limits], at) => ({
      kind: at === 0 ? kind : '',
      plan,
      limits,
      versions: at === 0 ? versionsText(versions) : '',
      install: at === 0 ? debianPackage : '',
    })),
  );
  const table = renderTable<PlanRow>(
    [
      { title: 'KIND', cell: (row) => row.kind },
      { title: 'PLAN', cell: (row) => row.plan },
      { title: 'MEMORY', cell: ({ limits }) => formatBytes(limits.memoryBytes), align: 'right' },
      { title: 'STORAGE', cell: ({ limits }) => formatBytes(limits.storageBytes), align: 'right' },
      { title: 'CONNECTIONS', cell: ({ limits }) => String(limits.connections), align: 'right', importance: 1 },
      { title: 'RUNS ON', cell: (row) => row.versions },
      { title: 'PACKAGE', cell: (row) => row.install, importance: 0 },
    ],
    rows,
    width,
  );
  const missing = kinds.filter(({ versions }) => versions.length === 0);
  const lines = missing.map(
    ({ kind, debianPackage }) =>
      `no node has ${kind}: install Debian's ${debianPackage} on one, and restart its node as root (peer stop, peer start)`,
  );
  return [table, ...(lines.length === 0 ? [] : ['', ...lines])].join('\n');
}

const versionsText = (versions: KindShape['versions']): string =>
  versions.length === 0
    ? 'no node'
    : versions.map(({ version, nodes }) => `${version}: ${nodes.join(', ')}`).join('; ');

export function serviceText(service: ServiceShape, { colours }: Shown): string {
  const orUnknown = (value: number | null, format: (value: number) => string): string =>
    value === null ? 'unknown' : format(value);
  const since = service.instance === null ? '' : ` for ${formatAge(service.instance.sinceMs)}`;
  const state = paintState(service.state, service.state, colours);
  const lines = [
    `name         ${service.name}`,
    `kind         ${`${service.kind} ${service.version}`.trim()}${service.plan === '' ? '' : `, ${service.plan}`}`,
    `state        ${state}${since}${service.reason === null ? '' : `: ${service.reason}`}`,
  ];
  if (service.node !== null) {
    const every = service.backupEveryMs === 0 ? 'never' : `every ${formatAge(service.backupEveryMs)}`;
    const proven =
      service.provenBackupAgeMs === null
        ? 'none proven yet'
        : `newest proven ${formatAge(service.provenBackupAgeMs)} old`;
    const connectionsMax = service.connectionsMax === null ? '' : ` of ${service.connectionsMax}`;
    if (service.before != null) {
      const { version, node } = service.before;
      lines.push(`upgraded     from ${version}, which is kept on ${node}: peer service upgrade --confirm or --revert`);
    }
    lines.push(
      `node         ${service.node}`,
      `address      ${service.host} (${service.address}), for bound apps`,
      `memory       ${formatBytes(service.memoryBytes)}`,
      `storage      ${orUnknown(service.usedBytes, formatBytes)} of ${formatBytes(service.storageBytes)}`,
      `connections  ${orUnknown(service.connections, String)}${connectionsMax}`,
      `backups      ${every}${service.backupEveryMs === 0 ? '' : `, ${service.backupsKept} kept`}, ${proven}`,
      ...(service.wal ? [`log          ${logText(service)}`] : []),
    );
  }
  if (service.export !== null) lines.push(`export       ${exportText(service.export, colours)}`);
  const bound = service.bindings.map(({ app, prefix, granted }) => {
    const notes = [...(prefix === '' ? [] : [`as ${prefix}`]), ...(granted === false ? ['not usable yet'] : [])];
    return notes.length === 0 ? app : `${app} (${notes.join(', ')})`;
  });
  return [...lines, `bound to     ${bound.length === 0 ? 'none' : bound.join(', ')}`].join('\n');
}

/** A node of an older version says nothing of moments. */
function logText({ name, log }: Pick<ServiceShape, 'name' | 'log'>): string {
  const how = `peer service restore ${name} --at TIME`;
  if (log == null) return `kept: ${how}`;
  const piece = log.pieceAgeMs === null ? '' : `, last piece ${formatAge(log.pieceAgeMs)} old`;
  if (log.fromMs === null || log.toMs === null) {
    return `kept${piece}, and no moment can be made yet: its first base takes a minute`;
  }
  const [from, to] = [log.fromMs, log.toMs].map((ms) => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z'));
  const gaps = log.rows > 1 ? ` but for what is missing (${log.rows - 1}×)` : '';
  return `any moment from ${from} to ${to} (${formatAge(Math.max(0, Date.now() - log.toMs))} ago)${gaps}${piece}: ${how}`;
}

function exportText(exported: NonNullable<ServiceShape['export']>, colours: Output['colours']): string {
  const { host, port, node, isOpen, problem, granted, fingerprint } = exported;
  const address = `${host.includes(':') ? `[${host}]` : host}:${port} on ${node}`;
  if (isOpen === null) return `${address} ${colours.yellow('(which does not answer)')}`;
  if (!isOpen) return `${address} ${colours.red(`(not open${problem === null ? '' : `: ${problem}`})`)}`;
  const access = granted === false ? ', its credentials do not work yet' : '';
  return `${address}, with TLS${fingerprint === null ? '' : ` (key ${fingerprint})`}${access}`;
}

/** `hello/0`, `hello/worker/1`. */
export const slotText = ({
  owner,
  ownerKind,
  process,
  index,
}: Pick<VolumeShape, 'owner' | 'ownerKind' | 'process' | 'index'>): string =>
  ownerKind === 'service' ? owner : `${owner}/${process === 'web' ? '' : `${process}/`}${index}`;

/** `2h ago from 12m old, a lost`; empty of one that never was by itself. */
function restoredText({ restored }: VolumeShape): string {
  if (restored === null) return '';
  const old = restored.snapshotAgeMs === null ? '' : ` from ${formatAge(restored.snapshotAgeMs)} old`;
  return `${formatAge(Math.max(0, Date.now() - restored.atMs))} ago${old}, ${restored.lost} lost`;
}

export function volumesTable(volumes: readonly VolumeShape[], { colours, width }: Shown): string {
  const stateOf = (one: VolumeShape): string => {
    if (!one.mounted) return one.ownerKind === 'gone' ? 'kept, its app is gone' : 'kept, another has its place';
    return one.wanted ? 'mounted' : 'kept';
  };
  const nodeColumn: Column<VolumeShape> = {
    title: 'NODE',
    cell: (one) => (one.nodeStatus === 'alive' ? one.node : `${one.node} (${one.nodeStatus})`),
    paint: (text, one) => (one.nodeStatus === 'alive' ? text : paintState(text, one.nodeStatus, colours)),
  };
  return renderTable<VolumeShape>(
    [
      { title: 'OF', cell: slotText },
      { title: 'PATH', cell: (one) => one.path },
      {
        title: 'SIZE',
        cell: (one) => `${formatBytes(one.sizeBytes)}${one.hardQuota ? ' hard' : ''}`,
        align: 'right',
      },
      nodeColumn,
      { title: 'STATE', cell: stateOf },
      { title: 'ON LOSS', cell: (one) => one.onLoss, importance: 1 },
      { title: 'RESTORED', cell: restoredText, importance: 2 },
      { title: 'ID', cell: (one) => one.id, importance: 0 },
    ],
    volumes,
    width,
  );
}
