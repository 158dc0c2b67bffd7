// Why a blob could not be stored. In every case the store is as it was before.

/**
 * - `too_large`: the source gave more than sizeBytesMax. A retry fails again.
 * - `corrupt`: the content is not what its digest promised. A retry from another source may succeed.
 * - `disk_full`: no space left. A retry is safe once there is room.
 * - `bad_digest`: the text is not `sha256:<64 hex digits>`.
 * - `not_held`: the store does not have the blob.
 */
export type BlobErrorCode = 'too_large' | 'corrupt' | 'disk_full' | 'bad_digest' | 'not_held';

export class BlobError extends Error {
  readonly code: BlobErrorCode;

  constructor(code: BlobErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'BlobError';
    this.code = code;
  }
}
