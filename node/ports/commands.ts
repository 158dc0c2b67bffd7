// Ports of commands that people attend to: in a running instance, and as tasks of their own. Types only; each says
// what it guarantees and how it fails.

import type { Readable, Writable } from 'node:stream';
import type { AppId, Digest, InstanceId, ReleaseId } from '../../crdt/ids.ts';
import type { ImageView } from '../../crdt/view.ts';
import type { HostEntry, VolumeMount } from '../core/types.ts';

/** Characters, as the terminal of whoever attends shows them. */
export type TerminalSize = { columns: number; rows: number };

export type AttendedCommand = {
  /** Empty: the shell that is there, bash before sh. */
  argv: readonly string[];
  /** Beside what the instance has; in nobody's list of processes. */
  env?: Readonly<Record<string, string>>;
  /** With a terminal of this size; without one, pipes. */
  terminal?: TerminalSize;
};

/**
 * How a command ended. `code` follows the shell: 128 + number of the signal. `reason` when the platform ended it: out
 * of memory, the node stops.
 */
export type CommandExit = { code: number; reason?: string };

/**
 * A command that someone attends to from its start to its end. What is not read or written holds the command back,
 * never the daemon's memory.
 */
export interface Attended {
  /** Ending it lets the command read end-of-file. Takes no more, without an error, once the command reads no more. */
  readonly stdin: Writable;
  /** With a terminal all output comes here. Ends at the latest shortly after the command. */
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Harmless without a terminal and after the end. */
  resize(size: TerminalSize): void;
  /** KILLs the command and all that it started. Harmless when it has ended. */
  end(reason: string): void;
  /** Resolves when nothing of it is left. Never rejects. */
  readonly exited: Promise<CommandExit>;
}

/** A run of an app's droplet or image that fills no slot: without port, health check and second try. */
export type TaskSpec = {
  /** Unique among instances and tasks, and in the same alphabet. */
  id: InstanceId;
  app: { id: AppId; name: string };
  /** What its logs and its people call it. */
  name: string;
  release: { id: ReleaseId; version: number };
  droplet: { digest: Digest; sizeBytes: number; stack: string };
  /** The droplet is the archive of this image: the command is one of its programs, with its environment and folder. */
  image?: ImageView;
  env: Readonly<Record<string, string>>;
  memoryBytes: number;
  diskBytes: number;
  uris: string[];
  /** As of an instance. */
  hosts?: readonly HostEntry[];
  /** Volumes of a slot, which are on this node: mounted beside the instance that has them, and as its user. */
  volumes?: VolumeMount[];
};

/**
 * The part of a runtime that runs what people ask for at once. Both fail with an error with a `code`, and then leave
 * nothing behind.
 */
export interface CommandRunner {
  /**
   * In a running instance: its files, processes, network, environment, user and limits. Fails with `not_running`. The
   * command ends with the instance, and never outlives the daemon.
   */
  exec(id: InstanceId, command: AttendedCommand): Promise<Attended>;
  /**
   * In a sandbox of its own, isolated and limited like an instance. The droplet must be held locally. An empty argv is
   * a shell here too. When it has exited nothing of it is left, and its volumes are let go of; it never outlives the
   * daemon. Ended when a volume of it grows far beyond its size.
   */
  runTask(task: TaskSpec, command: AttendedCommand): Promise<Attended>;
}
