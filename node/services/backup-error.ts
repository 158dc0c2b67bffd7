// Why a backup could not be taken, kept or put back.

/** `code`: as the port says. */
export class BackupError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}
