// Port of the sandbox: commands of staging, run to their end. Types only; each says what it guarantees and how it
// fails.

/** One path made visible inside a sandbox. `from` is on the host. */
export type Bind = { from: string; to: string; writable: boolean };

export type SandboxRun = {
  /** Used for the cgroup and in messages; unique among running ones: letters, digits, dashes. */
  name: string;
  argv: string[];
  /** Inside the sandbox. */
  cwd: string;
  env: Record<string, string>;
  binds: Bind[];
  memoryBytes: number;
  pidsMax: number;
  /** Absent: the public internet and the machine's name servers, and what `reach` names. */
  network?: 'none';
  /** URLs that the daemon's own settings name, and that may lead to private addresses: proxies and registries. */
  reach?: readonly string[];
  timeoutMs: number;
  stdin?: NodeJS.ReadableStream;
  /**
   * Called with raw output as it comes; the runner pauses the command while the promise is pending. Already bounded:
   * after outputBytesMax the rest is dropped and `truncated` is set.
   */
  onOutput?: (chunk: Buffer, stream: 'out' | 'err') => void | Promise<void>;
  outputBytesMax: number;
  signal?: AbortSignal;
};

/** How a sandboxed command ended. */
export type SandboxResult = {
  code: number | null;
  signal: string | null;
  timedOut: boolean;
  outOfMemory: boolean;
  aborted: boolean;
  truncated: boolean;
};

/**
 * Runs one command to its end as an unprivileged user, isolated like an instance. Everything it started is gone when
 * it resolves.
 */
export interface Sandbox {
  run(run: SandboxRun): Promise<SandboxResult>;
  /**
   * Whether the sandbox's user is another than the daemon's. Then what runs inside cannot exchange a folder that it
   * was given for a link: the one above stays the daemon's.
   */
  readonly ownUser: boolean;
  /** Makes the directories and all in them belong to the sandbox's user. */
  giveTo(...paths: string[]): Promise<void>;
}
