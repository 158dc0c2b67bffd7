// How the runtime fails at its edges: every code, and the error that carries it. Decides nothing.

/**
 * - `sandbox_missing`, `sandbox_unusable`: nothing was started; a retry is of no use until the machine is changed.
 * - `device_damaged`: nothing was started; a retry is of use once the device is mended.
 * - `engine_missing`, `engine_unusable`: no container engine can be used; nothing was started.
 * - `no_free_port`, `no_free_user`: nothing was started; a retry may succeed once other instances have ended.
 * - `no_free_network`: nothing was started; a retry may succeed.
 * - `droplet_missing`, `droplet_unpack_failed`: the instance was not launched and its folder is removed.
 * - `volume_unavailable`: a volume cannot be had now, or not on this node; the instance was not launched.
 * - `volume_unmountable`: what the app has where its volume is to be is in the way; the instance was not launched.
 * - `service_unusable`: nothing was launched; the message says what the service lacks here.
 * - `not_frozen`: the instance could not be held still, and runs on.
 * - `spawn_failed`: the operating system refused a process; a retry may succeed.
 * - `image_unknown`, `image_too_large`: nothing was stored.
 * - `build_failed`, `time_limit`, `aborted`: the engine keeps its cache and nothing else; `busy`: nothing was started.
 * - `not_running`: there is no such instance here, or it has not come so far; nothing was started.
 * - `invalid_name`: a bug or a hostile name; nothing was touched.
 */
export type RuntimeErrorCode =
  | 'sandbox_missing'
  | 'sandbox_unusable'
  | 'device_damaged'
  | 'no_free_port'
  | 'no_free_user'
  | 'no_free_network'
  | 'droplet_missing'
  | 'droplet_unpack_failed'
  | 'volume_unavailable'
  | 'volume_unmountable'
  | 'service_unusable'
  | 'not_frozen'
  | 'spawn_failed'
  | 'engine_missing'
  | 'image_unknown'
  | 'image_too_large'
  | 'build_failed'
  | 'time_limit'
  | 'busy'
  | 'aborted'
  | 'engine_unusable'
  | 'not_running'
  | 'invalid_name';

export class RuntimeError extends Error {
  readonly code: RuntimeErrorCode;

  constructor(code: RuntimeErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'RuntimeError';
    this.code = code;
  }
}
