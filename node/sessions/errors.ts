// How sessions fail: every code, and the error that carries it. Decides nothing.

/** Nothing was run. */
export class SessionError extends Error {
  override readonly name = 'SessionError';
  readonly code:
    | 'instance_not_found'
    | 'no_release'
    | 'no_node_for_task'
    | 'busy'
    | 'bad_request'
    | 'service_not_ready'
    | 'session_ended';
  constructor(code: SessionError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
