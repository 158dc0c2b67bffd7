// How volumes fail: every code, and the error that carries it. Decides nothing.

/**
 * - `volume_missing`: there is no such lineage here; nothing was touched.
 * - `volume_busy`: an instance has it mounted; a retry may succeed once that has ended.
 * - `other_lineage`: the volume is here with another history only, and an empty one was not made in its place.
 * - `no_free_user`: nothing was made; a retry may succeed once a volume was removed.
 * - `bad_snapshot`: the content is none that a snapshot holds; nothing was made of it.
 * - `snapshot_failed`: the volume could not be read or packed; the message has what the tool said.
 * - `disk_full`: nothing was made; a retry is of use once there is room.
 * - `not_frozen`: an instance could not be held still; the snapshot was not taken.
 * - `unavailable`: no node that answers has what is asked for; nothing was touched.
 * - `volume_moving`: the desired state has it elsewhere, or this node has not heard of it yet; a retry may succeed.
 * - `no_hard_quota`: this node cannot make, mount or enlarge a disk of the volume's own; nothing was made.
 * - `aborted`: whoever asked gave up; nothing is held.
 * - `invalid_name`: a bug or a hostile name; nothing was touched.
 */
export type VolumeErrorCode =
  | 'volume_missing'
  | 'volume_busy'
  | 'other_lineage'
  | 'no_free_user'
  | 'bad_snapshot'
  | 'snapshot_failed'
  | 'disk_full'
  | 'not_frozen'
  | 'unavailable'
  | 'volume_moving'
  | 'no_hard_quota'
  | 'aborted'
  | 'invalid_name';

export class VolumeError extends Error {
  readonly code: VolumeErrorCode;

  constructor(code: VolumeErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'VolumeError';
    this.code = code;
  }
}
