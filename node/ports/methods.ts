// What nodes ask of one another: every request by its name, what it holds, what is answered, and within which bounds.
// Both sides check against this table (node/gossip): a handler sees no request, and a caller no answer, of another
// shape. What the control plane asks for itself is in node/gossip/methods.ts, in the same form.

import * as v from 'valibot';
import type { AppId, Digest, InstanceId, NodeId, ServiceId } from '../../crdt/ids.ts';
import { DIGEST_PATTERN, idProblem, processTypeProblem } from '../../crdt/limits.ts';
import type { Slot } from '../core/types.ts';
import type { AttendedCommand } from './commands.ts';
import type { LogLine } from './logs.ts';
import type { RecordedEvent, TaskTarget } from './node-service.ts';
import type { InstanceUsage } from './runtime.ts';

export const KIB = 1024;
export const MIB = 1024 * KIB;

/** One request, one answer. */
export type Method<Request, Reply> = {
  readonly name: string;
  readonly request: v.GenericSchema<unknown, Request>;
  readonly reply: v.GenericSchema<unknown, Reply>;
  /** How long the caller waits, unless it says otherwise. */
  readonly timeoutMs: number;
  /** As JSON. */
  readonly requestBytesMax: number;
  readonly replyBytesMax: number;
  /** The handler is not called for what had waited while this node stood still, when its caller has given up. */
  readonly whileWanted: boolean;
};

/** One request, answered by items until the caller goes away. */
export type StreamMethod<Request, Item> = Pick<Method<Request, Item>, 'name' | 'request' | 'requestBytesMax'> & {
  readonly item: v.GenericSchema<unknown, Item>;
  readonly itemBytesMax: number;
};

/** One request, then bytes in both directions. */
export type DuplexMethod<Request> = Pick<Method<Request, never>, 'name' | 'request' | 'requestBytesMax'>;

export type Bounds = { timeoutMs: number; requestBytesMax?: number; replyBytesMax?: number; whileWanted?: boolean };

export const method = <Request, Reply>(
  name: string,
  request: v.GenericSchema<unknown, Request>,
  reply: v.GenericSchema<unknown, Reply>,
  bounds: Bounds,
): Method<Request, Reply> => ({
  name,
  request,
  reply,
  requestBytesMax: 4 * KIB,
  replyBytesMax: 4 * KIB,
  whileWanted: false,
  ...bounds,
});

// ---------------------------------------------------------------- parts of messages

export const text = (charsMax: number) => v.pipe(v.string('should be text'), v.maxLength(charsMax, 'is too long'));
export const size = v.pipe(
  v.number('should be a number'),
  v.finite('should be finite'),
  v.minValue(0, 'should not be negative'),
);
export const count = v.pipe(
  v.number('should be a number'),
  v.safeInteger('should be whole'),
  v.minValue(0, 'is negative'),
);
const appId = v.custom<AppId>((value) => idProblem(value) === undefined, 'should be the id of an app');
export const digest = v.custom<Digest>(
  (value) => typeof value === 'string' && DIGEST_PATTERN.test(value),
  'should be sha256:…',
);
export const processType = v.custom<string>(
  (value) => processTypeProblem(value) === undefined,
  'should be a process type',
);
export const nodeId = v.pipe(
  text(128),
  v.transform((value) => value as NodeId),
);
const instanceId = v.pipe(
  text(200),
  v.transform((value) => value as InstanceId),
);
export const serviceId = v.custom<ServiceId>(
  (value) => idProblem(value) === undefined,
  'should be the id of a service',
);
const nothing = v.pipe(
  v.unknown(),
  v.transform((): undefined => undefined),
);

/** Droplets asked about at once. */
export const KEEP_DIGESTS_MAX = 256;
/** Lines of logs, or events, of one answer: more nobody reads. */
export const LINES_MAX = 2_000;
/** A build cache, as large as it can be, in a tar. */
const CACHE_BYTES_MAX = 1.25 * 1024 ** 3;
const CHANGES_MAX = 1_000;
const INSTANCES_MAX = 1_000;
const ARGV_BYTES_MAX = 64 * KIB;
const TERMINAL_SIDE_MAX = 10_000;
/** Of all services, and so of one. */
const texts = (itemsMax: number, charsMax: number) =>
  v.pipe(v.array(text(charsMax), 'should be a list'), v.maxLength(itemsMax, 'is too long'));
const digests = v.pipe(v.array(digest, 'should be a list'), v.maxLength(KEEP_DIGESTS_MAX, 'is too long'));

/** What makes no sense is left out, so that the rest is shown: for what people read. */
const orNothing = <T>(schema: v.GenericSchema<unknown, T>): v.GenericSchema<unknown, T | undefined> =>
  v.pipe(
    v.unknown(),
    v.transform((value): T | undefined => {
      const parsed = v.safeParse(schema, value);
      return parsed.success ? parsed.output : undefined;
    }),
  );
export const someOf = <T>(schema: v.GenericSchema<unknown, T>, itemsMax: number): v.GenericSchema<unknown, T[]> =>
  v.pipe(
    v.array(orNothing(schema), 'should be a list'),
    v.transform((items) => items.filter((item) => item !== undefined).slice(0, itemsMax)),
  );

/** Of lines and events as much is checked as they are sorted and shown by; versions may say more. */
const stamped = { atMs: v.pipe(v.number(), v.finite()), node: nodeId };
const logLine = v.looseObject({ ...stamped, text: v.string() }) as unknown as v.GenericSchema<unknown, LogLine>;
const recordedEvent = v.looseObject({ ...stamped, message: v.string() }) as unknown as v.GenericSchema<
  unknown,
  RecordedEvent
>;
type TailRequest = { app?: AppId | undefined; lines: number };
const tailRequest: v.GenericSchema<unknown, TailRequest> = v.object({
  app: v.optional(appId),
  lines: v.pipe(
    count,
    v.transform((lines) => Math.min(lines, LINES_MAX)),
  ),
});
const TAIL: Bounds = { timeoutMs: 10_000, replyBytesMax: 8 * MIB };

const usage: v.GenericSchema<unknown, InstanceUsage> = v.object({
  id: instanceId,
  memoryBytes: v.fallback(v.optional(size), undefined),
  cpu: v.fallback(v.optional(size), undefined),
  diskBytes: v.fallback(v.optional(size), undefined),
}) as unknown as v.GenericSchema<unknown, InstanceUsage>;

const slot: v.GenericSchema<unknown, Slot> = v.object({ app: appId, process: processType, index: count });

/** What one node asks another, or itself, to run for a person. */
export type SessionOrder = {
  by: string;
  app: AppId;
  command: AttendedCommand;
  target: { kind: 'exec'; instance: InstanceId; process: string; index: number } | TaskTarget;
};

const terminalSide = v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(TERMINAL_SIDE_MAX));
const sessionOrder = v.object({
  by: text(256),
  app: appId,
  command: v.object({
    argv: v.pipe(
      v.array(
        v.pipe(
          v.string(),
          v.check((word) => !word.includes('\0'), 'holds a zero byte'),
        ),
      ),
      v.check((argv) => argv.join('').length <= ARGV_BYTES_MAX, 'the command is too long'),
    ),
    terminal: v.optional(v.object({ columns: terminalSide, rows: terminalSide })),
  }),
  target: v.variant('kind', [
    v.object({ kind: v.literal('exec'), instance: instanceId, process: processType, index: count }),
    v.object({
      kind: v.literal('task'),
      name: v.pipe(v.string(), v.regex(/^[a-z0-9-]{1,63}$/, 'is no task name')),
      slot: v.optional(v.object({ process: processType, index: count })),
    }),
  ]),
}) as unknown as v.GenericSchema<unknown, SessionOrder>;

// ---------------------------------------------------------------- the table

/**
 * `changes`: of the desired state, in base64. Answered once they are on that node's disk; `heads` are then among its
 * own.
 */
export const HOLD_CHANGES = method(
  'desired.hold',
  v.object({ changes: texts(CHANGES_MAX, MIB), heads: texts(CHANGES_MAX, 128) }),
  v.object({ held: v.boolean() }),
  { timeoutMs: 2_000, requestBytesMax: MIB },
);

/** Takes a copy of a droplet from whoever asks. */
export const HOLD_BLOB = method(
  'blob.hold',
  v.object({ digest, sizeBytes: size }),
  v.object({ held: v.literal(true) }),
  { timeoutMs: 300_000, whileWanted: true },
);

/** Promises to keep those of the droplets that it holds. */
export const KEEP_BLOBS = method('blob.keep', v.object({ digests }), v.object({ digests }), {
  timeoutMs: 2_000,
  requestBytesMax: 32 * KIB,
  replyBytesMax: 32 * KIB,
});

export const RESTART_SLOT = method('slot.restart', slot, nothing, { timeoutMs: 5_000, whileWanted: true });

/** A look takes a quarter of a second. Nobody is kept waiting by a node that has just frozen. */
export const USAGE = method('usage', v.object({ app: appId }), someOf(usage, INSTANCES_MAX), {
  timeoutMs: 1_000,
  replyBytesMax: 256 * KIB,
});

/** The source that the app (by its name) was pushed from last, when it is here. */
export const SOURCE_OF = method('source.of', v.object({ app: text(256) }), v.object({ digest: v.nullable(digest) }), {
  timeoutMs: 1_000,
});

/**
 * The app's build cache: a node that does not answer soon is left out, most of it passes while the upload comes in.
 */
export const CACHE_VERSION = method(
  'cache.version',
  v.object({ app: appId }),
  v.object({ stack: text(128), version: count }),
  { timeoutMs: 1_000 },
);

/** Packing reads and stores the whole cache, once. */
export const PACK_CACHE = method(
  'cache.pack',
  v.object({ app: appId }),
  v.object({ digest, sizeBytes: v.pipe(size, v.maxValue(CACHE_BYTES_MAX, 'is too large')), version: count }),
  { timeoutMs: 60_000, whileWanted: true },
);

export const TAIL_LOGS = method('logs.tail', tailRequest, someOf(logLine, LINES_MAX), TAIL);
export const TAIL_EVENTS = method('events.tail', tailRequest, someOf(recordedEvent, LINES_MAX), TAIL);

const follow = { request: tailRequest, requestBytesMax: 4 * KIB, itemBytesMax: MIB };
export const FOLLOW_LOGS: StreamMethod<TailRequest, LogLine | undefined> = {
  name: 'logs.follow',
  item: orNothing(logLine),
  ...follow,
};
export const FOLLOW_EVENTS: StreamMethod<TailRequest, RecordedEvent | undefined> = {
  name: 'events.follow',
  item: orNothing(recordedEvent),
  ...follow,
};

/** Frames (lib/session-frames.ts) in both directions. */
export const OPEN_SESSION: DuplexMethod<SessionOrder> = {
  name: 'session.open',
  request: sessionOrder,
  requestBytesMax: 128 * KIB,
};

/** Asked of the node that runs the service, by the one that a person asks: an access for as long as it goes on. */
export const OPEN_SERVICE_SESSION: DuplexMethod<{ service: ServiceId; by: string }> = {
  name: 'service.session',
  request: v.object({ service: serviceId, by: text(256) }),
  requestBytesMax: 4 * KIB,
};
