// Which backup is meant by `newest`. Pure.

type Tried = { proof?: { state: string } | null | undefined };

export type Newest<B> = {
  /** Not known to be bad. */
  newest: B;
  /** The newest that was restored for a test; undefined where none was. The same one as `newest` at best. */
  proven: B | undefined;
};

/**
 * @param backups of one service, newest first. Undefined: there is none, or all are known to be bad.
 */
export function newestOf<B extends Tried>(backups: readonly B[]): Newest<B> | undefined {
  const newest = backups.find(({ proof }) => proof?.state !== 'failed');
  if (newest === undefined) return undefined;
  return { newest, proven: backups.find(({ proof }) => proof?.state === 'proven') };
}

/** Why it is not taken for the newest before somebody names it, and how that is said. @param age as `3 min` */
export function unprovenText<B extends { id: string }>(
  name: string,
  { newest, proven }: Newest<B>,
  { age, command }: { age: (backup: B) => string; command: (id: string) => string },
): string {
  const other =
    proven === undefined ? 'none is proven' : `${command(proven.id)} takes the newest proven one, ${age(proven)} old`;
  return `the newest backup of ${name}, ${age(newest)} old, was not proven: ${command(newest.id)} takes it all the same; ${other}`;
}
