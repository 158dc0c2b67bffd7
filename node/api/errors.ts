// The API's errors: the codes it makes itself, and what a client is told of any failure (ports/error-catalogue.ts).

import { randomUUID } from 'node:crypto';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { Log } from '../lib/log.ts';
import { type ErrorCode, entryOf, type Retry } from '../ports/error-catalogue.ts';

/** Codes that the API itself raises. Failures of the node below keep their own code. */
export type ApiErrorCode = Extract<
  ErrorCode,
  | 'bad_request'
  | 'upload_cut_off'
  | 'unauthorized'
  | 'forbidden'
  | 'not_found'
  | 'caller_gone'
  | 'too_late'
  | 'push_in_progress'
  | 'name_ambiguous'
  | 'too_large'
  | 'no_start_command'
  | 'kind_unknown'
  | 'plan_unknown'
  | 'version_unknown'
  | 'no_node_for_data'
  | 'service_exists'
  | 'service_bound'
  | 'service_provided'
  | 'already_bound'
  | 'not_bound'
  | 'volume_in_use'
  | 'volume_moving'
  | 'service_not_ready'
  | 'move_called_off'
  | 'data_stranded'
  | 'node_has_data'
  | 'no_upgrade'
  | 'upgrade_unconfirmed'
  | 'backup_unknown'
  | 'backup_unproven'
  | 'unavailable'
  | 'unreachable'
  | 'export_failed'
  | 'internal'
>;

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
export type Failure = ErrorBody['error'] & { status: ContentfulStatusCode };

/** The one JSON shape of every error. */
export type ErrorBody = { error: { code: string; message: string; retry: Retry; mayHold?: true } };

/**
 * What to tell the client; undefined for an unexpected error, whose message may hold anything and is only logged.
 * Errors made for people carry a code of the catalogue; those of Node and libraries do not (`ECONNRESET`).
 */
export function failureOf(error: unknown): Failure | undefined {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return undefined;
  const status = statusOf(error.name, error.code);
  if (status === undefined) return undefined;
  const mayHold = 'mayHold' in error && error.mayHold === true ? { mayHold: true as const } : {};
  return { status, code: error.code, message: oneLine(error.message), retry: retryOf(error.code), ...mayHold };
}

/** What a client may do about a failure with the code. */
export const retryOf = (code: string): Retry => entryOf(code)?.retry ?? 'later';

/** Another node may be of a newer version, with codes of its own: it says no more than that it failed. */
function statusOf(name: string, code: string): ContentfulStatusCode | undefined {
  const known = entryOf(code)?.status as ContentfulStatusCode | undefined;
  return known ?? (name === 'RemoteError' ? 502 : undefined);
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
