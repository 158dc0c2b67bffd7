// The API's errors: every code it makes itself, and which HTTP status any failure gets. Only node/api knows HTTP
// statuses.

import { randomUUID } from 'node:crypto';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { Log } from '../lib/log.ts';

/** Codes that the API itself raises. Failures of the node below keep their own code. */
const STATUS_BY_CODE = {
  bad_request: 400,
  upload_cut_off: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  caller_gone: 408,
  too_late: 408,
  push_in_progress: 409,
  name_ambiguous: 409,
  too_large: 413,
  no_start_command: 422,
  internal: 500,
} as const satisfies Record<string, ContentfulStatusCode>;

/** Codes of the parts below that their name alone does not give away. */
const STATUS_BELOW: Record<string, ContentfulStatusCode> = {
  route_reserved: 403,
  last_admin: 409,
  last_node: 409,
  node_removed: 409,
  nothing_to_roll_back: 409,
  busy: 503,
  no_node_for_task: 503,
  no_release: 409,
  not_running: 409,
  disk_full: 507,
  over_budget: 507,
  no_room: 507,
  disk_failed: 503,
  not_replicated: 503,
  droplet_not_replicated: 503,
  broken: 503,
  closed: 503,
};

export type ApiErrorCode = keyof typeof STATUS_BY_CODE;

/** A request that cannot be done; nothing has changed. The message says what happened and what to do, in one line. */
export class ApiError extends Error {
  readonly code: ApiErrorCode;
  constructor(code: ApiErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ApiError';
    this.code = code;
  }
}

/** `mayHold`: it failed, but what was asked for may have taken effect all the same, or do so later. */
export type Failure = { status: ContentfulStatusCode; code: string; message: string; mayHold?: true };

/** The one JSON shape of every error. */
export type ErrorBody = { error: { code: string; message: string; mayHold?: true } };

/**
 * What to tell the client; undefined for an unexpected error, whose message may hold anything and is only logged.
 * Errors made for people carry a code in lower case (`not_found`); those of Node and libraries do not (`ECONNRESET`).
 */
export function failureOf(error: unknown): Failure | undefined {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return undefined;
  if (!/^[a-z][a-z0-9_]*$/.test(error.code)) return undefined;
  const mayHold = 'mayHold' in error && error.mayHold === true ? { mayHold: true as const } : {};
  return { status: statusOf(error.name, error.code), code: error.code, message: oneLine(error.message), ...mayHold };
}

function statusOf(name: string, code: string): ContentfulStatusCode {
  const own = (STATUS_BY_CODE as Record<string, ContentfulStatusCode>)[code] ?? STATUS_BELOW[code];
  if (own !== undefined) return own;
  if (/(^|_)(not_found|unknown)(_|$)/.test(code)) return 404;
  if (/(^|_)(conflict|exists|taken|in_use)(_|$)/.test(code)) return 409;
  return name === 'ChangeRejected' ? 400 : 422;
}

/** Messages go into one line of a terminal. */
export function oneLine(text: string): string {
  return text.replace(/\s*[\r\n]+\s*/g, ' ').trim();
}

/** Logs an error that nobody foresaw, and answers the line for the client: an id to find it by, not what it holds. */
export function reportUnexpected(log: Log, error: unknown, where: string): string {
  const id = randomUUID();
  const fields = error instanceof Error ? { error: error.message, stack: error.stack } : { error: String(error) };
  log.error('api.unexpected', { id, where, ...fields });
  return `the node failed unexpectedly; its log has the details under ${id}`;
}
