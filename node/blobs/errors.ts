// Why a blob could not be stored or fetched. In every case what the store shows is as it was before.

/**
 * - `too_large`: the source gave more than sizeBytesMax. A retry fails again.
 * - `corrupt`: the content is not what its digest promised. A retry from another source may succeed.
 * - `disk_full`: no space left. A retry is safe once there is room.
 * - `over_budget`: it does not fit into what this node may use for blobs. A retry is safe once something was given up.
 * - `bad_digest`: the text is not `sha256:<64 hex digits>`.
 * - `not_held`: the store does not have the blob, or not all of its chunks.
 * - `unavailable`: no holder delivered it. A retry goes on where this one ended.
 * - `busy`: too many downloads wait already. A retry later may succeed.
 * - `aborted`: the caller gave up, or the node stops.
 */
export type BlobErrorCode =
  | 'too_large'
  | 'corrupt'
  | 'disk_full'
  | 'over_budget'
  | 'bad_digest'
  | 'not_held'
  | 'unavailable'
  | 'busy'
  | 'aborted';

export class BlobError extends Error {
  readonly code: BlobErrorCode;

  constructor(code: BlobErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'BlobError';
    this.code = code;
  }
}

export const isDiskFull = (error: unknown): boolean => {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  return code === 'ENOSPC' || code === 'EDQUOT';
};
