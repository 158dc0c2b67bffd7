// How a command fails: one line for people, a code for scripts, an exit status. 1: it failed; 2: it was used wrongly.

import type { ErrorBody } from '../node/api/errors.ts';

/**
 * Of what a node says to input that is wrong in itself: as node/ports/error-catalogue.ts has it, which a test
 * compares.
 */
const BAD_INPUT = /^(bad_request|out_of_range|invalid_(name|id|route|env|value|change))$/;

type Retry = ErrorBody['error']['retry'];

export class CliError extends Error {
  readonly code: string;
  readonly exitStatus: 1 | 2;
  /** What was asked for may have taken effect all the same, or do so later. */
  readonly mayHold: boolean;
  /** Whether the same may succeed later, or on another node, as a node says. */
  readonly retry: Retry | undefined;
  constructor(code: string, message: string, options: ErrorOptions & { mayHold?: boolean; retry?: Retry } = {}) {
    super(message, options);
    this.name = 'CliError';
    this.code = code;
    this.exitStatus = BAD_INPUT.test(code) ? 2 : 1;
    this.mayHold = options.mayHold ?? false;
    this.retry = options.retry;
  }
}

/** Found before anything was asked of a node. */
export class UsageError extends CliError {
  override readonly exitStatus = 2;
  constructor(message: string) {
    super('usage', message);
    this.name = 'UsageError';
  }
}
