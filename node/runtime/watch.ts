// Watches what no control group can: an instance's memory where no group is writable, and its disk use. Samples at
// bounded intervals and calls once when a limit is passed; it never ends anything itself.

import { diskUseBytes } from '../lib/disk-use.ts';
import { descendants, ownMemoryBytes } from './process-tree.ts';

export type Watch = { stop(): void };
export type DiskWatch = Watch & { /** As it was last measured. */ readonly bytes: number | undefined };

const MEMORY_SAMPLE_MS = 1_000;

/** Calls onExceeded, once, when the descendants of `ancestor` hold more memory than the limit. */
export function watchMemory(options: { ancestor: number; memoryBytes: number; onExceeded: () => void }): Watch {
  return sample(MEMORY_SAMPLE_MS, async () => {
    const processes = await descendants(options.ancestor);
    const bytes = await ownMemoryBytes(processes.map((info) => info.pid));
    if (bytes <= options.memoryBytes) return MEMORY_SAMPLE_MS;
    options.onExceeded();
    return undefined;
  });
}

export const DISK_SAMPLE_MS = 10_000;
/** A folder with many files takes long to measure; measuring may take this share of the time at most. */
const DISK_SAMPLE_SHARE = 0.005;

/** Calls onExceeded, once, when the folder takes more of the disk than the limit. */
export function watchDisk(options: {
  folder: string;
  diskBytes: number;
  intervalMs: number;
  onExceeded: (bytes: number) => void;
}): DiskWatch {
  let last: number | undefined;
  const watch = sample(options.intervalMs, async () => {
    const startMs = performance.now();
    const bytes = await diskUseBytes(options.folder);
    last = bytes ?? last;
    if (bytes === undefined || bytes <= options.diskBytes) {
      return Math.max(options.intervalMs, (performance.now() - startMs) / DISK_SAMPLE_SHARE);
    }
    options.onExceeded(bytes);
    return undefined;
  });
  return {
    stop: watch.stop,
    get bytes() {
      return last;
    },
  };
}

/** Runs `look` again and again, each time after the pause it asked for, until it asks for none. */
function sample(firstMs: number, look: () => Promise<number | undefined>): Watch {
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  const schedule = (pauseMs: number): void => {
    timer = setTimeout(() => {
      look().then(
        (nextMs) => {
          if (!stopped && nextMs !== undefined) schedule(nextMs);
        },
        () => {
          if (!stopped) schedule(firstMs);
        },
      );
    }, pauseMs);
  };
  schedule(firstMs);
  return {
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
