// Why the lifecycle stopped: a code that the stager knows (errors.ts of staging) and one line for people.

export type LifecycleErrorCode = 'no_buildpack' | 'build_failed' | 'buildpack_invalid';

export class LifecycleError extends Error {
  readonly code: LifecycleErrorCode;

  constructor(code: LifecycleErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options);
    this.code = code;
  }
}
