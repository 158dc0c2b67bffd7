// The data directory: its lock, what cluster it belongs to, the incarnation counter, and node.json for people and
// scripts. Never touches the files of other parts (desired state, blobs, instances, logs).

import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import writeFileAtomic from 'write-file-atomic';
import { resourceBehind } from '../core/pressure.ts';
import { START_MAX } from '../core/state.ts';
import { makePrivate, NotOwnedError } from '../lib/private-files.ts';
import type { Membership, MembershipStore } from '../ports/membership.ts';

/** The data directory cannot be used as it is. Nothing in it was changed. */
export class DataDirError extends Error {
  readonly code: 'disk_full' | 'in_use' | 'newer_version' | 'other_cluster' | 'damaged' | 'unusable';
  constructor(code: DataDirError['code'], message: string) {
    super(message);
    this.name = 'DataDirError';
    this.code = code;
  }
}

/** What a start failed with; when that was for want of disk, so that it says which and what to do. */
export const withDisk = (error: unknown, path: string): unknown =>
  resourceBehind(error) === 'disk'
    ? new DataDirError('disk_full', `the disk that holds ${path} is full: free some space, then start the node again`)
    : error;

/** Raised when an older daemon could no longer read the directory. */
const FORMAT = 1;

/** What `D/node.json` says of a running daemon. */
export type NodeFile = {
  id: string;
  name: string;
  pid: number;
  api: string;
  http: string;
  link: string;
  listen: string;
  token: string;
};

const PRIVATE = { mode: 0o600 };

export class DataDir implements MembershipStore {
  readonly path: string;
  /** What other users of the machine could read until now, as paths within the directory. */
  readonly opened: string[] = [];
  #locked = false;
  /** The highest number of a start that was remembered. */
  #start = 0;

  private constructor(path: string) {
    this.path = path;
  }

  /**
   * Creates the directory when it is missing, takes its lock and every right on its secrets from others. Fails with
   * DataDirError `in_use` or `unusable`, the latter also when it belongs to someone else.
   */
  static async lock(path: string): Promise<DataDir> {
    const dir = new DataDir(path);
    try {
      await mkdir(path, { recursive: true, mode: 0o700 });
      await dir.#takeLock();
      dir.opened.push(...(await makePrivate(path)));
    } catch (error) {
      await dir.release();
      if (error instanceof DataDirError) throw error;
      if (error instanceof NotOwnedError) {
        throw new DataDirError(
          'unusable',
          `cannot keep the data directory ${path} private: ${error.message}; give it to who runs the daemon (chown -R), or choose another with --data-dir`,
        );
      }
      const { message } = error as Error;
      throw new DataDirError(
        'unusable',
        `cannot use the data directory ${path}: ${message}; choose another with --data-dir`,
      );
    }
    return dir;
  }

  file(name: string): string {
    return join(this.path, name);
  }

  /** Undefined for a fresh directory. */
  async readMembership(): Promise<Membership | undefined> {
    const text = await readIfThere(this.file('cluster.json'));
    if (text === undefined) return undefined;
    let value: Partial<Membership>;
    try {
      value = JSON.parse(text) as Partial<Membership>;
    } catch {
      throw new DataDirError(
        'damaged',
        `${this.file('cluster.json')} is damaged: join again with an invite from another node (on its stdin: peer start --join -)`,
      );
    }
    if (typeof value.format === 'number' && value.format > FORMAT) {
      throw new DataDirError(
        'newer_version',
        `the data directory ${this.path} was written by a newer version of Peer: start that version, or choose another --data-dir`,
      );
    }
    const { cluster, psk, operatorToken } = value;
    if (typeof cluster !== 'string' || typeof psk !== 'string' || typeof operatorToken !== 'string') {
      throw new DataDirError(
        'damaged',
        `${this.file('cluster.json')} is incomplete: join again with an invite from another node (on its stdin: peer start --join -)`,
      );
    }
    return { format: FORMAT, cluster, psk, operatorToken };
  }

  async writeMembership(membership: Omit<Membership, 'format'>): Promise<void> {
    await this.#write('cluster.json', `${JSON.stringify({ format: FORMAT, ...membership })}\n`);
  }

  /**
   * The number of this start: higher at every call, also after a crash, so that reports of this life win over those of
   * the last one. A directory that is an older copy, or has lost the file, counts back: then other nodes know better,
   * and what they say is remembered.
   */
  async nextStart(): Promise<number> {
    const read = Number((await readIfThere(this.file('incarnation')))?.trim());
    // What else stands there is damage.
    const last = Number.isSafeInteger(read) && read > 0 && read < START_MAX ? read : 0;
    await this.rememberStart(last + 1);
    return last + 1;
  }

  /** Whether a daemon has been a member here, as nothing before that counts. */
  async hasLived(): Promise<boolean> {
    return (await readIfThere(this.file('incarnation'))) !== undefined;
  }

  /** The next start gets a higher number than this. */
  async rememberStart(start: number): Promise<void> {
    this.#start = Math.max(this.#start, start);
    await this.#write('incarnation', `${this.#start}\n`);
  }

  /** Written last: whoever sees it may use the API. */
  async writeNodeFile(file: NodeFile): Promise<void> {
    await this.#write('node.json', `${JSON.stringify(file, undefined, 2)}\n`);
  }

  /** What was there stays when it fails. */
  async #write(name: string, text: string): Promise<void> {
    try {
      await writeFileAtomic(this.file(name), text, PRIVATE);
    } catch (error) {
      throw withDisk(error, this.path);
    }
  }

  async release(): Promise<void> {
    if (!this.#locked) return;
    this.#locked = false;
    await rm(this.file('node.json'), { force: true });
    await rm(this.file('lock'), { force: true });
  }

  /** A lock file that names its process by pid and start time, so that one left by a killed daemon is seen as such. */
  async #takeLock(): Promise<void> {
    const own = `${process.pid} ${await processStartTime(process.pid)}\n`;
    const deadlineMs = performance.now() + LOCK_WAIT_MS;
    for (let attempt = 0; attempt < LOCK_ATTEMPTS_MAX; attempt++) {
      try {
        const handle = await open(this.file('lock'), 'wx', 0o600);
        await handle.writeFile(own);
        await handle.close();
        this.#locked = true;
        await rm(this.file('node.json'), { force: true });
        return;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const [pid, startTime] = ((await readIfThere(this.file('lock'))) ?? '').trim().split(' ');
      const isOwner = async (): Promise<boolean> =>
        pid !== undefined && startTime !== undefined && (await processStartTime(Number(pid))) === startTime;
      while (await isOwner()) {
        if (performance.now() >= deadlineMs) {
          throw new DataDirError(
            'in_use',
            `the data directory ${this.path} is in use by a running daemon (pid ${pid}): stop it with peer stop, or choose another --data-dir`,
          );
        }
        await sleep(LOCK_POLL_MS);
      }
      await rm(this.file('lock'), { force: true });
    }
    throw new DataDirError(
      'in_use',
      `the data directory ${this.path} is being taken by another daemon: choose another --data-dir`,
    );
  }
}

const LOCK_ATTEMPTS_MAX = 3;
/** A daemon that was killed needs this long to end where it held much memory or the machine is busy. */
const LOCK_WAIT_MS = 1_000;
const LOCK_POLL_MS = 20;

/**
 * Start time in clock ticks since boot, as /proc has it; undefined when there is no such process. One that has ended,
 * but that its parent did not collect yet, holds nothing any more: in a container without an init it stays for ever.
 */
async function processStartTime(pid: number): Promise<string | undefined> {
  const stat = await readIfThere(`/proc/${pid}/stat`);
  // Fields after the command, which may itself hold spaces and brackets: state, number of threads and start time are
  // fields 3, 20 and 22 of the line. While other threads end, what the process holds is still held.
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
  const hasEnded = fields === undefined || fields[0] === 'X' || (fields[0] === 'Z' && Number(fields[17]) <= 1);
  return hasEnded ? undefined : fields[19];
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    // ESRCH: a process that ended while its file in /proc was read.
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}
