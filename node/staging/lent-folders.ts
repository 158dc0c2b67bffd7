// Remembers where in an app's last droplet the folder is that its cache had lent to it, so that the next droplet need
// not pack it again. Builds say only which folder it is and its mark; which bytes that means is known here alone.

import type { AppId } from '../../crdt/ids.ts';
import type { BlobRange } from '../ports/blobs.ts';

/**
 * `mark`: of the droplet that it was packed into last, and has not changed since; undefined for one that was just
 * made.
 */
export type Lent = { name: string; mark: string | undefined };

export type LentFolders = {
  /** The folder's content as it was packed; undefined when that is not known. */
  packed(app: AppId, lent: Lent): BlobRange | undefined;
  /** Of one app, only the last one is remembered. */
  remember(app: AppId, lent: { name: string; mark: string }, range: BlobRange): void;
  forget(app: AppId): void;
};

/** Of one folder, as its cache and the app have it. */
const NAME = /^[A-Za-z0-9_.-]{1,100}$/;
const MARK = /^[0-9a-f]{32}$/;

export const createLentFolders = (limits: { appsMax: number }): LentFolders => {
  const folders = new Map<AppId, { name: string; mark: string; range: BlobRange }>();
  return {
    packed(app, { name, mark }) {
      const last = folders.get(app);
      return last !== undefined && last.name === name && last.mark === mark ? last.range : undefined;
    },
    remember(app, { name, mark }, range) {
      folders.delete(app);
      folders.set(app, { name, mark, range });
      for (const oldest of folders.keys()) {
        if (folders.size <= limits.appsMax) break;
        folders.delete(oldest);
      }
    },
    forget: (app) => void folders.delete(app),
  };
};

/** What the runner told, which a build may have written: undefined when it makes no sense. */
export const parseLent = (text: string | undefined): Lent | undefined => {
  const [name = '', mark = ''] = (text ?? '').trimEnd().split(' ');
  if (!NAME.test(name) || name === '.' || name === '..') return undefined;
  return { name, mark: MARK.test(mark) ? mark : undefined };
};
