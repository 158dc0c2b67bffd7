// Decides whether bytes from another node are a well-formed report, membership message or set of changes. Bounded,
// strict about what it knows, tolerant of fields a newer version added. Never decides whether the author may say it
// (topics.ts).

import * as v from 'valibot';
import type { AppId, Digest, InstanceId, NodeId, ReleaseId } from '../../crdt/ids.ts';
import { idProblem, oneLine, processTypeProblem } from '../../crdt/limits.ts';
import { LOST_MAX } from '../core/loss.ts';
import type { PressureLevel, Resource } from '../core/pressure.ts';
import type { Belief, MembershipMessage, Report } from '../core/types.ts';
import { parseHostPort } from '../lib/host-port.ts';
import {
  ADDRESS_BYTES_MAX,
  BEAT_BYTES_MAX,
  CHANGES_BYTES_MAX,
  CHANGES_PER_MESSAGE_MAX,
  MEMBERSHIP_BYTES_MAX,
  REPORT_BYTES_MAX,
  REPORT_ITEMS_MAX,
} from './limits.ts';
import { pack, unpack } from './packing.ts';
import type { ReportChange } from './report-changes.ts';

const ID_CHARS_MAX = 128;
const NAME_CHARS_MAX = 256;
const REASON_CHARS_MAX = 1_024;
const MAP_ITEMS_MAX = 256;
/** Copies of one slot at a time: one for each side of a partition in parts. */
const COVERS_MAX = 256;
/** More than this version says of itself (trouble.ts): a later one may say more. */
const UNREACHABLE_MAX = 64;
const WARNINGS_MAX = 32;
/** Resources are few; the rest is room for newer ones. */
const PRESSURES_MAX = 16;

const text = <T extends string>(charsMax: number) =>
  v.custom<T>(
    (value) => typeof value === 'string' && value.length <= charsMax,
    `a text of at most ${charsMax} characters`,
  );
/**
 * An instance's id stands in headers and in names of folders; an app's and a release's are those of the desired state.
 */
const INSTANCE_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const instanceId = v.custom<InstanceId>(
  (value) => typeof value === 'string' && INSTANCE_ID.test(value),
  'an instance id',
);
const recordId = <T extends string>() => v.custom<T>((value) => idProblem(value) === undefined, 'an id');
const processType = v.custom<string>((value) => processTypeProblem(value) === undefined, 'a process type');
/** Other nodes dial it; empty while it is not known. */
const hostPort = v.custom<string>((value) => {
  if (value === '') return true;
  return typeof value === 'string' && value.length <= ADDRESS_BYTES_MAX && parseHostPort(value) !== undefined;
}, 'HOST:PORT');
/**
 * For people to read, as other nodes show it: one line that steers no terminal. A newer node's odd text is no reason
 * to miss its report.
 */
const line = (charsMax: number) =>
  v.pipe(
    text<string>(charsMax),
    v.transform((value) => (PLAIN_TEXT.test(value) ? value : oneLine(value, charsMax))),
  );
const PLAIN_TEXT = /^[\x20-\x7e]*$/;
const id = <T extends string>() =>
  v.custom<T>((value) => typeof value === 'string' && value.length > 0 && value.length <= ID_CHARS_MAX, 'an id');
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
/** Times and loads may be fractions. Sums and products of a few of them stay numbers. */
const amount = v.pipe(v.number(), v.finite(), v.minValue(0), v.maxValue(Number.MAX_SAFE_INTEGER));
/** Of a claim. The member refutes it with a greater number, which has to be a safe integer too. */
const INCARNATION_CLAIMED_MAX = 2 ** 52;
const claimedIncarnation = v.pipe(count, v.maxValue(INCARNATION_CLAIMED_MAX));
const list = <T>(item: v.GenericSchema<unknown, T>, itemsMax = REPORT_ITEMS_MAX) =>
  v.pipe(v.array(item), v.maxLength(itemsMax));

const instanceSchema = v.looseObject({
  id: instanceId,
  app: recordId<AppId>(),
  process: processType,
  index: count,
  release: recordId<ReleaseId>(),
  restartCount: count,
  state: v.picklist(['starting', 'ready', 'unhealthy', 'crashed', 'stopping']),
  sinceMs: amount,
  crashes: count,
  memoryBytes: amount,
  port: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535))),
  reason: v.optional(line(REASON_CHARS_MAX)),
  offered: v.optional(text(ID_CHARS_MAX)),
  vacates: v.optional(text(ID_CHARS_MAX)),
  covers: v.optional(list(text(2 * ID_CHARS_MAX), COVERS_MAX)),
});

const unreachableSchema = v.looseObject({
  node: id<NodeId>(),
  // Any word: only people read it.
  by: text<'link' | 'gossip'>(NAME_CHARS_MAX),
  why: text(REASON_CHARS_MAX),
  sinceMs: amount,
});

/** A resource that only a newer version knows is taken too. */
const pressureSchema = v.looseObject({
  resource: text<Resource>(ID_CHARS_MAX),
  level: text<PressureLevel>(ID_CHARS_MAX),
  free: amount,
  total: amount,
  failure: v.optional(text(REASON_CHARS_MAX)),
});

const reportSchema = v.looseObject({
  node: id<NodeId>(),
  incarnation: count,
  sequence: count,
  name: line(NAME_CHARS_MAX),
  status: v.picklist(['alive', 'leaving']),
  version: line(NAME_CHARS_MAX),
  addresses: list(text(ADDRESS_BYTES_MAX), 64),
  link: hostPort,
  api: hostPort,
  http: hostPort,
  arch: line(NAME_CHARS_MAX),
  stacks: list(line(NAME_CHARS_MAX), 64),
  runtimes: list(line(NAME_CHARS_MAX), 64),
  services: v.optional(list(line(NAME_CHARS_MAX), 64)),
  hardQuota: v.optional(v.boolean()),
  labels: v.pipe(
    v.record(line(NAME_CHARS_MAX), line(NAME_CHARS_MAX)),
    v.check((labels) => Object.keys(labels).length <= MAP_ITEMS_MAX),
  ),
  memoryBytes: amount,
  load: amount,
  pressure: v.optional(list(pressureSchema, PRESSURES_MAX)),
  disk: v.optional(v.looseObject({ freeBytes: amount, totalBytes: amount })),
  instances: list(instanceSchema),
  droplets: list(id<Digest>()),
  heads: list(text(ID_CHARS_MAX), 1_024),
  unreachable: v.optional(list(unreachableSchema, UNREACHABLE_MAX)),
  warnings: v.optional(list(text(REASON_CHARS_MAX), WARNINGS_MAX)),
  lost: v.optional(list(id<NodeId>(), LOST_MAX)),
  lateMs: v.optional(amount),
});

const changeSchema: v.GenericSchema<unknown, ReportChange> = v.looseObject({
  incarnation: count,
  sequence: count,
  base: v.looseObject({ incarnation: count, sequence: count }),
  laterMs: amount,
  fields: v.optional(v.omit(v.partial(reportSchema), ['instances', 'droplets'])),
  set: v.optional(list(instanceSchema)),
  gone: v.optional(list(text(ID_CHARS_MAX))),
  dropletsAdded: v.optional(list(id<Digest>())),
  dropletsGone: v.optional(list(id<Digest>())),
}) as v.GenericSchema<unknown, ReportChange>;

const claim = { node: id<NodeId>(), incarnation: claimedIncarnation, from: id<NodeId>() };
export const membershipSchema = v.variant('kind', [
  v.looseObject({ kind: v.literal('suspect'), ...claim, evidence: v.picklist(['refused', 'silence']) }),
  v.looseObject({ kind: v.literal('alive'), ...claim }),
  v.looseObject({ kind: v.literal('dead'), ...claim }),
  v.looseObject({ kind: v.literal('left'), ...claim }),
]);

export const beliefSchema: v.GenericSchema<unknown, Belief> = v.looseObject({
  status: v.picklist(['alive', 'suspect', 'dead', 'left']),
  incarnation: count,
  sequence: count,
});

export type ReportNews = { report: Report } | { change: ReportChange };
export type Decoded<T> = { ok: true; value: T } | { ok: false; reason: string };

function decodeJson<T>(data: Uint8Array, bytesMax: number, schema: v.GenericSchema<unknown, T>): Decoded<T> {
  const value = unpacked(data, bytesMax);
  return value.ok ? check(value.value, schema) : value;
}

function unpacked(data: Uint8Array, bytesMax: number): Decoded<unknown> {
  if (data.byteLength > bytesMax) return { ok: false, reason: `larger than ${bytesMax} bytes` };
  try {
    return { ok: true, value: unpack(data, bytesMax) };
  } catch {
    return { ok: false, reason: 'not JSON' };
  }
}

function check<T>(value: unknown, schema: v.GenericSchema<unknown, T>): Decoded<T> {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return { ok: true, value: result.output };
  const issue = result.issues[0];
  return { ok: false, reason: `${v.getDotPath(issue) ?? 'message'}: ${issue.message.slice(0, 200)}` };
}

export const decodeReport = (data: Uint8Array): Decoded<Report> => decodeJson(data, REPORT_BYTES_MAX, reportSchema);
/** For what came as part of a larger, already bounded message. */
export const checkReport = (value: unknown): Decoded<Report> => check(value, reportSchema);
export const checkMembership = (value: unknown): Decoded<MembershipMessage> => check(value, membershipSchema);
export const decodeMembership = (data: Uint8Array): Decoded<MembershipMessage> =>
  decodeJson(data, MEMBERSHIP_BYTES_MAX, membershipSchema);

export const encodeReport = (report: Report): Uint8Array => pack(report);
export const encodeMembership = (message: MembershipMessage): Uint8Array => pack(message);

/** What comes on the topic of reports: a whole one, or what differs from one before. */
export const encodeReportNews = (news: ReportNews): Uint8Array => pack('report' in news ? news.report : news.change);

export function decodeReportNews(data: Uint8Array): Decoded<ReportNews> {
  const value = unpacked(data, REPORT_BYTES_MAX);
  return value.ok ? checkReportNews(value.value) : value;
}

/** What a node says over its own connection: news, or first all that is needed to understand it. */
export function decodeBeat(data: Uint8Array): Decoded<{ news: ReportNews } | { reports: Report[] }> {
  const value = unpacked(data, BEAT_BYTES_MAX);
  if (!value.ok) return value;
  if (Array.isArray(value.value)) {
    const reports = checkReports(value.value);
    return reports.ok ? { ok: true, value: { reports: reports.value } } : reports;
  }
  const news = checkReportNews(value.value);
  return news.ok ? { ok: true, value: { news: news.value } } : news;
}

export const encodeReports = (reports: readonly Report[]): Uint8Array => pack(reports);

function checkReportNews(value: unknown): Decoded<ReportNews> {
  if (typeof value === 'object' && value !== null && 'base' in value) {
    const change = check<ReportChange>(value, changeSchema);
    return change.ok ? { ok: true, value: { change: change.value } } : change;
  }
  const report = checkReport(value);
  return report.ok ? { ok: true, value: { report: report.value } } : report;
}

/** A base and the newest report, as a node tells them when it is asked. */
export const reportsSchema: v.GenericSchema<unknown, Report[]> = v.pipe(v.array(reportSchema), v.maxLength(2));
export const checkReports = (value: unknown): Decoded<Report[]> => check(value, reportsSchema);

// Changes: each as a 4-byte big-endian length and its bytes, one after the other.

const LENGTH_BYTES = 4;

/** Packs changes into as few messages as fit; `tooLarge` says that some change fits in none. */
export function encodeChanges(changes: readonly Uint8Array[]): { messages: Uint8Array[]; tooLarge: boolean } {
  const messages: Uint8Array[] = [];
  let batch: Uint8Array[] = [];
  let bytes = 0;
  let tooLarge = false;
  const flush = (): void => {
    if (batch.length > 0) messages.push(concatChanges(batch, bytes));
    batch = [];
    bytes = 0;
  };
  for (const change of changes) {
    const size = LENGTH_BYTES + change.byteLength;
    if (size > CHANGES_BYTES_MAX) {
      tooLarge = true;
      continue;
    }
    if (bytes + size > CHANGES_BYTES_MAX || batch.length === CHANGES_PER_MESSAGE_MAX) flush();
    batch.push(change);
    bytes += size;
  }
  flush();
  return { messages, tooLarge };
}

function concatChanges(changes: readonly Uint8Array[], bytes: number): Uint8Array {
  const message = new Uint8Array(bytes);
  const view = new DataView(message.buffer);
  let at = 0;
  for (const change of changes) {
    view.setUint32(at, change.byteLength);
    message.set(change, at + LENGTH_BYTES);
    at += LENGTH_BYTES + change.byteLength;
  }
  return message;
}

export function decodeChanges(data: Uint8Array): Decoded<Uint8Array[]> {
  if (data.byteLength > CHANGES_BYTES_MAX) return { ok: false, reason: `larger than ${CHANGES_BYTES_MAX} bytes` };
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const changes: Uint8Array[] = [];
  let at = 0;
  while (at < data.byteLength) {
    if (at + LENGTH_BYTES > data.byteLength) return { ok: false, reason: 'cut off in a length' };
    const end = at + LENGTH_BYTES + view.getUint32(at);
    if (end > data.byteLength) return { ok: false, reason: 'cut off in a change' };
    if (changes.length === CHANGES_PER_MESSAGE_MAX)
      return { ok: false, reason: `more than ${CHANGES_PER_MESSAGE_MAX} changes` };
    changes.push(data.slice(at + LENGTH_BYTES, end));
    at = end;
  }
  if (changes.length === 0) return { ok: false, reason: 'no change in it' };
  return { ok: true, value: changes };
}
