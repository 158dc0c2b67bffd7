// The errors of crdt/: a change that breaks a rule, and a store that cannot do its work. Free of Automerge, so that
// the API can tell them apart. Messages are one line: what is wrong, and what to do.

export type ChangeRejectedCode =
  | 'invalid_change'
  | 'invalid_name'
  | 'invalid_id'
  | 'invalid_route'
  | 'invalid_env'
  | 'invalid_value'
  | 'out_of_range'
  | 'too_large'
  | 'limit_reached'
  | 'app_exists'
  | 'app_unknown'
  | 'process_unknown'
  | 'release_exists'
  | 'release_unknown'
  | 'nothing_to_roll_back'
  | 'route_taken'
  | 'route_reserved'
  | 'route_unknown'
  | 'user_exists'
  | 'user_unknown'
  | 'member_unknown'
  | 'last_admin'
  | 'node_unknown'
  | 'node_name_taken'
  | 'node_removed'
  | 'last_node'
  | 'invite_exists'
  | 'invite_unknown'
  | 'invite_expired'
  | 'invite_used_up'
  | 'volume_exists'
  | 'volume_unknown'
  | 'volume_in_use'
  | 'volume_moving'
  | 'no_upgrade'
  | 'upgrade_unconfirmed'
  | 'service_exists'
  | 'service_unknown'
  | 'service_bound'
  | 'service_provided'
  | 'address_taken'
  | 'already_bound'
  | 'already_exported'
  | 'not_exported'
  | 'not_bound';

/** Bad input, or input that does not fit the desired state. Nothing changed; the same input fails again. */
export class ChangeRejected extends Error {
  readonly code: ChangeRejectedCode;

  constructor(code: ChangeRejectedCode, message: string) {
    super(message);
    this.name = 'ChangeRejected';
    this.code = code;
  }
}

/**
 * - `missing`, `exists`: there is no desired state in the directory, or there is one already.
 * - `other_cluster`, `newer_version`: it is another cluster's, or was written by a newer version.
 * - `corrupt`: the files are damaged beyond a torn last write.
 * - `disk_full`, `disk_failed`: nothing was written and the document is as before; a retry is safe once the disk has
 *   room.
 * - `broken`: a failed write could not be undone on disk; writes are refused until the store is opened again.
 * - `busy`: too many writes are waiting; retry later.
 * - `bad_message`: another node sent bytes that are not of the sync protocol; nothing changed.
 * - `too_large`: a message or snapshot is beyond its bound; nothing changed.
 * - `closed`: the store has been closed; nothing changed.
 */
export type StoreErrorCode =
  | 'missing'
  | 'exists'
  | 'other_cluster'
  | 'newer_version'
  | 'corrupt'
  | 'disk_full'
  | 'disk_failed'
  | 'broken'
  | 'busy'
  | 'bad_message'
  | 'too_large'
  | 'closed';

export class StoreError extends Error {
  readonly code: StoreErrorCode;

  constructor(code: StoreErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'StoreError';
    this.code = code;
  }
}

const REASON_LENGTH_MAX = 200;

/** What an error says, on one bounded line, to be quoted in another message. */
export function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s+/g, ' ').trim().slice(0, REASON_LENGTH_MAX);
}

/** A change that is refused, with its hash (that of its bytes when they hold no change). */
export type Quarantined = { hash: string; reason: string; bytes: Uint8Array };

/** Changes arrived together, and some of them are not allowed. */
export class RefusedChanges extends Error {
  readonly sound: Uint8Array[];
  readonly refused: Quarantined[];

  constructor(sound: Uint8Array[], refused: Quarantined[]) {
    super(refused[0]?.reason);
    this.sound = sound;
    this.refused = refused;
  }
}
