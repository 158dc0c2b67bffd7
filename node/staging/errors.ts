// Why a staging run failed: one code and one line for people each. Whatever the code, nothing of the run is left but
// its cache.

/**
 * What a person does about it stands in each message; `retry` in the comments says whether the same upload may succeed
 * later.
 */
export type StagingErrorCode =
  /** No buildpack recognises the app. */
  | 'no_buildpack'
  /** The upload holds no file. */
  | 'empty_folder'
  /** The upload is no gzip-compressed tar, is cut off, or holds an entry that is not allowed. */
  | 'bad_archive'
  /** The upload, the unpacked app or the droplet is over its bound. */
  | 'too_large'
  /** A buildpack's compile ended with an error; `lastLines` has the end of its output. */
  | 'compile_failed'
  /** Cloud Foundry's two scripts. */
  | 'supply_failed'
  | 'finalize_failed'
  | 'release_failed'
  | 'release_not_yaml'
  | 'procfile_invalid'
  | 'app_json_invalid'
  /** A Cloud Native Buildpack's bin/build ended with an error. */
  | 'build_failed'
  /** What a Cloud Native Buildpack says of itself or of its layers does not follow the Buildpack API. */
  | 'buildpack_invalid'
  /** Neither the buildpack, the Procfile nor the push names a process. */
  | 'no_start_command'
  | 'time_limit'
  /** Memory bound of the build reached. */
  | 'out_of_memory'
  /** The caller's signal. Retry is safe. */
  | 'aborted'
  | 'buildpack_unknown'
  | 'buildpack_fetch_failed'
  /** The node's disk is (nearly) full. Retry is safe once there is room. */
  | 'disk_full'
  /** What this node may use for blobs does not suffice. Retry is safe once something was given up. */
  | 'over_budget'
  /** Too many stagings wait on this node. Retry later or on another node. */
  | 'busy'
  /** Packing the droplet failed. */
  | 'droplet_failed';

export class StagingError extends Error {
  readonly code: StagingErrorCode;
  /** The end of the build's output; only for failures of a buildpack. */
  readonly lastLines: readonly string[];

  constructor(code: StagingErrorCode, message: string, options: ErrorOptions & { lastLines?: readonly string[] } = {}) {
    super(message, options);
    this.name = 'StagingError';
    this.code = code;
    this.lastLines = options.lastLines ?? [];
  }
}
