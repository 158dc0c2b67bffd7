// What the control plane asks of other nodes for itself, in the form of the table of methods (ports/methods.ts).

import * as v from 'valibot';
import { method } from '../ports/methods.ts';
import { MEMBERSHIP_BYTES_MAX, RPC_REPLY_BYTES_MAX } from './limits.ts';
import { beliefSchema, membershipSchema, reportsSchema } from './messages.ts';

/**
 * The node's newest report, with what is needed to understand those that follow. `belief`: what whoever asks holds of
 * it.
 */
export const ASK_REPORTS = method('gossip.reports.get', v.object({ belief: v.optional(beliefSchema) }), reportsSchema, {
  timeoutMs: 5_000,
  replyBytesMax: RPC_REPLY_BYTES_MAX,
});

/** What is said to one node directly, while gossip does not flow to it yet: for the first moments of a connection. */
export const TELL_MEMBERSHIP = method('gossip.membership', membershipSchema, v.unknown(), {
  timeoutMs: 5_000,
  requestBytesMax: MEMBERSHIP_BYTES_MAX,
});
