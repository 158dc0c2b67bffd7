// Decisions as text: one line for each effect of the core, for people to read and to compare. No effect is left out;
// of reports and routing tables a line says what differs from the one before, but for time that passes and the size
// of a copy.

import { firstIncarnation, INCARNATIONS_PER_START } from '../../node/core/state.ts';
import type { Belief, Effect, InstanceReport, InstanceSpec, Report, RouteTable } from '../../node/core/types.ts';
import { MIB } from './little-cluster.ts';

/** `2` for the incarnation with which start 2 begins, `2+1` once a suspicion was refuted in it. */
export function incarnationText(incarnation: number): string {
  const start = Math.floor(incarnation / INCARNATIONS_PER_START);
  const refutations = incarnation % INCARNATIONS_PER_START;
  return refutations === 0 ? `${start}` : `${start}+${refutations}`;
}

/** The other way round. Throws on what is no such text. */
export function incarnationOf(text: string): number {
  const [, start, refutations = '0'] = text.match(/^(\d+)(?:\+(\d+))?$/) ?? [];
  if (start === undefined) throw new Error(`${text}: should be an incarnation such as 1 or 1+2`);
  return firstIncarnation({ start: Number(start), salt: 0 }) + Number(refutations);
}

/** Offers are named by incarnation and sequence, promises by the copy and its offer: `1.7`, `a-mh34-1@1.7`. */
const offerText = (name: string): string => name.replace(/(\d+)\.(\d+)$/, (_, n, s) => `${incarnationText(+n)}.${s}`);
/** The other way round. */
export const offerOf = (text: string): string =>
  text.replace(/([\d+]+)\.(\d+)$/, (_, n, s) => `${incarnationOf(n)}.${s}`);

/** Writes effects down in the order in which they come. */
export class DecisionWriter {
  #report: Report;
  #table: RouteTable = { routes: [], local: [], admitted: [] };

  /** @param nothing a report of the node that says nothing yet, from which its first one differs */
  constructor(nothing: Report) {
    this.#report = nothing;
  }

  line(effect: Effect): string {
    switch (effect.type) {
      case 'startInstance':
        return startText(effect.spec);
      case 'stopInstance':
        return `stop ${effect.id}: ${effect.reason}`;
      case 'fetchDroplet':
        return `fetch droplet ${effect.digest} (${effect.sizeBytes} bytes) from ${effect.holders.join(', ')}`;
      case 'probe':
        return `probe ${effect.node}, for ${Math.round(effect.timeoutMs)} ms`;
      case 'publishReport': {
        const changes = reportChanges(this.#report, effect.report);
        this.#report = effect.report;
        const { relay, report } = effect;
        return `report ${report.sequence}${relay ? ' (relayed)' : ''}: ${changes.join('; ') || 'nothing new'}`;
      }
      case 'askReport':
        return `ask ${effect.node} for its report; believed here: ${beliefText(effect.belief)}`;
      case 'persistStart':
        return `persist start ${effect.start}`;
      case 'publishMembership': {
        const { message } = effect;
        const evidence = message.kind === 'suspect' ? ` (${message.evidence})` : '';
        return `tell: ${message.node} ${incarnationText(message.incarnation)} is ${message.kind}${evidence}`;
      }
      case 'setRoutes': {
        const changes = tableChanges(this.#table, effect.table);
        this.#table = effect.table;
        return `routes: ${changes.join('; ')}`;
      }
      case 'syncDesired':
        return `sync the desired state with ${effect.node}`;
      case 'failRelease':
        return `fail ${effect.release} of ${effect.app}: ${effect.reason}`;
      case 'leaveVolume':
        return `leave ${effect.volume}`;
      case 'restoreVolumes':
        return `restore ${effect.volumes.map(({ id }) => id).join(', ')}, lost with ${effect.lost}`;
      case 'recordEvent':
        return `event ${effect.event.name}: ${effect.event.message}`;
    }
  }
}

function startText(spec: InstanceSpec): string {
  const { id, app, process, index, release, memoryBytes, restartCount } = spec;
  const restarts = restartCount === 0 ? '' : `, restart ${restartCount}`;
  return `start ${id}: ${app.name}/${process}/${index} v${release.version}${restarts}, ${memoryBytes / MIB} MiB`;
}

export const beliefText = ({ status, incarnation, sequence }: Belief): string =>
  `${status} ${incarnationText(incarnation)}, report ${sequence}`;

/** Time that passes is no change, and the sequence is said beside it. */
function reportChanges(before: Report, after: Report): string[] {
  const { instances: old, sequence: _, ...rest } = before;
  const { instances, sequence: __, ...now } = after;
  return [
    ...fieldChanges(rest, now),
    ...instances.flatMap((one) => {
      const known = old.find(({ id }) => id === one.id);
      const changes = instanceChanges(known, one);
      return changes.length === 0 ? [] : [`${known === undefined ? '+' : ''}${one.id} ${changes.join(' ')}`];
    }),
    ...old.filter(({ id }) => !instances.some((one) => one.id === id)).map(({ id }) => `-${id}`),
  ];
}

function instanceChanges(before: InstanceReport | undefined, after: InstanceReport): string[] {
  const { id, app, process, index, release, sinceMs, ...now } = after;
  if (before === undefined) {
    const { restartCount, crashes, memoryBytes, ...rest } = now;
    const unusual = { ...(restartCount === 0 ? {} : { restartCount }), ...(crashes === 0 ? {} : { crashes }) };
    return [`${app}/${process}/${index} ${release}`, ...fieldChanges({}, { ...rest, ...unusual })];
  }
  return fieldChanges(before, { ...now, id, app, process, index, release, sinceMs: before.sinceMs });
}

/** `field=value`, sorted; the state without its name, as it is what one looks for. */
function fieldChanges(before: object, after: object): string[] {
  const [old, now] = [before, after].map((one) => new Map(Object.entries(one)));
  const fields = [...new Set([...old!.keys(), ...now!.keys()])].sort();
  const changed = fields.filter((field) => fieldText(field, old!.get(field)) !== fieldText(field, now!.get(field)));
  const texts = changed.map((field) => {
    const text = fieldText(field, now!.get(field));
    return field === 'state' ? text : `${field}=${text}`;
  });
  return [...texts.filter((text) => !text.includes('=')), ...texts.filter((text) => text.includes('='))];
}

function fieldText(field: string, value: unknown): string {
  if (value === undefined || (Array.isArray(value) && value.length === 0)) return 'none';
  if (field === 'incarnation') return incarnationText(value as number);
  if (field === 'offered' || field === 'vacates') return offerText(value as string);
  if (field === 'covers') return (value as string[]).map(offerText).join(',');
  if (Array.isArray(value) && value.every((one) => typeof one === 'string')) return value.join(',');
  return typeof value === 'string' && field !== 'reason' ? value : JSON.stringify(value);
}

function tableChanges(before: RouteTable, after: RouteTable): string[] {
  const changes: string[] = [];
  const [old, now] = [before, after].map((table) => new Map(table.routes.map((one) => [one.route, routeText(one)])));
  for (const route of [...new Set([...old!.keys(), ...now!.keys()])].sort()) {
    if (old!.get(route) !== now!.get(route)) changes.push(`${route} -> ${now!.get(route) ?? 'no route'}`);
  }
  const [localOld, localNow] = [before, after].map(({ local }) =>
    local.map(({ instance, host, port }) => `${instance}${host === undefined ? '' : `@${host}`}:${port}`).join(', '),
  );
  if (localOld !== localNow) changes.push(`here ${localNow || 'nobody'}`);
  const [admittedOld, admittedNow] = [before, after].map(({ admitted }) => admitted.join(', '));
  if (admittedOld !== admittedNow) changes.push(`admitted ${admittedNow || 'nobody'}`);
  return changes;
}

/** `id@node`, and `id@node:port` or `id@host:port` of an instance of this node. */
const routeText = ({ upstreams }: RouteTable['routes'][number]): string =>
  upstreams
    .map(({ instance, node, host, port }) => `${instance}@${host ?? node}${port === undefined ? '' : `:${port}`}`)
    .join(', ') || 'nobody';
