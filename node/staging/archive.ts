// Which entries an uploaded archive may hold: nothing that leads outside the app's folder, and bounded. Pure decisions
// on entries, in archive order; reading the archive is in upload.ts. Extraction in the sandbox is the second wall.

import { StagingError } from './errors.ts';

export type ArchiveEntry = {
  /** Type as in the names of the `tar` package: `File`, `Directory`, `SymbolicLink`, `Link`… */
  type: string;
  path: string;
  linkpath?: string;
  sizeBytes: number;
};

export type ArchiveLimits = {
  /** Sum of the files' sizes. */
  unpackedBytesMax: number;
  /** Entries, and folders they imply. */
  entriesMax: number;
};

/** Longest path Linux takes, with the room the sandbox's own prefix needs. */
const PATH_BYTES_MAX = 3 * 1024;
/** Paths of symbolic links are remembered to refuse entries that go through them; this bounds that memory. */
const LINK_PATHS_BYTES_MAX = 16 * 1024 * 1024;

export type ArchiveCheck = {
  /** Throws a StagingError for an entry that is not allowed, or that goes over a limit. */
  entry(entry: ArchiveEntry): void;
  /** Files and links seen: what makes a folder not empty. */
  files(): number;
};

export const createArchiveCheck = (limits: ArchiveLimits): ArchiveCheck => {
  const links = new Set<string>();
  let linkPathsBytes = 0;
  let previous: string[] = [];
  let unpackedBytes = 0;
  let entries = 0;
  let files = 0;

  const rememberLink = (path: string): void => {
    linkPathsBytes += Buffer.byteLength(path);
    if (linkPathsBytes > LINK_PATHS_BYTES_MAX) throw tooLarge('it holds too many symbolic links');
    links.add(path);
  };

  return {
    files: () => files,
    entry(entry) {
      const parts = safeParts(entry.path);
      if (parts === undefined) throw refused(entry, 'its path leads outside the folder');
      entries += 1 + impliedFolders(previous, parts);
      previous = parts;
      if (entries > limits.entriesMax) throw tooLarge(`it holds more than ${limits.entriesMax} files and folders`);
      if (throughLink(parts, links)) throw refused(entry, 'it goes through a symbolic link');

      switch (entry.type) {
        case 'Directory':
        case 'GNUDumpDir':
          return;
        case 'File':
        case 'OldFile':
        case 'ContiguousFile':
          break;
        case 'SymbolicLink':
          if (parts.length === 0 || !staysInside(parts, entry.linkpath))
            throw refused(entry, 'it is a link that leads outside the folder');
          rememberLink(parts.join('/'));
          break;
        case 'Link': {
          const target = safeParts(entry.linkpath ?? '');
          // A hard link to a symbolic link is that link again, but read from another folder.
          if (!target?.length || links.has(target.join('/')) || throughLink(target, links)) {
            throw refused(entry, 'it is a link that leads outside the folder');
          }
          break;
        }
        default:
          throw refused(entry, `only files, folders and links are allowed, not ${entry.type}`);
      }
      if (parts.length === 0) throw refused(entry, 'it has no name');
      files += 1;
      unpackedBytes += entry.sizeBytes;
      if (unpackedBytes > limits.unpackedBytesMax) {
        throw tooLarge(`unpacked it is more than ${Math.floor(limits.unpackedBytesMax / 1024 / 1024)} MiB`);
      }
    },
  };
};

/** Components of a relative path that stays below where it starts; undefined for any other. */
const safeParts = (path: string): string[] | undefined => {
  if (path.startsWith('/') || path.includes('\0') || Buffer.byteLength(path) > PATH_BYTES_MAX) return undefined;
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  return parts.includes('..') ? undefined : parts;
};

/** Folders that unpacking this entry may create, seen from the entry before it. */
const impliedFolders = (previous: string[], parts: string[]): number => {
  let shared = 0;
  while (shared < parts.length - 1 && parts[shared] === previous[shared]) shared++;
  return Math.max(0, parts.length - 1 - shared);
};

const throughLink = (parts: string[], links: ReadonlySet<string>): boolean => {
  if (links.size === 0) return false;
  for (let depth = 1; depth < parts.length; depth++) {
    if (links.has(parts.slice(0, depth).join('/'))) return true;
  }
  return false;
};

/**
 * Whether a symbolic link at `parts` stays inside. `..` is allowed only at the start of its target: there the folders
 * it climbs are real ones (an entry never goes through a link), so that no chain of links adds up to a way out.
 */
const staysInside = (parts: string[], target: string | undefined): boolean => {
  if (target === undefined || target === '' || target.startsWith('/')) return false;
  const steps = target.split('/').filter((step) => step !== '' && step !== '.');
  const climbs = steps.findIndex((step) => step !== '..');
  const up = climbs === -1 ? steps.length : climbs;
  return up <= parts.length - 1 && !steps.slice(up).includes('..');
};

const shown = (path: string): string => JSON.stringify(path.length > 100 ? `${path.slice(0, 100)}…` : path);
const refused = (entry: ArchiveEntry, why: string): StagingError =>
  new StagingError('bad_archive', `the upload holds ${shown(entry.path)}: ${why}; remove it and push again`);
const tooLarge = (why: string): StagingError =>
  new StagingError('too_large', `the upload is too large: ${why}; leave out what the app does not need`);
