// Measures how long each part of one staging took, for the daemon's log. Decides nothing.

export type Stopwatch = {
  /** The time since the last call, or the beginning, was the part's; times of one part add up. */
  lap(part: string): void;
  /** `{ uploadMs: 12, … }`, in the order in which they ended. */
  laps(): Record<`${string}Ms`, number>;
};

export const createStopwatch = (nowMs: () => number = () => performance.now()): Stopwatch => {
  const laps = new Map<string, number>();
  let lastMs = nowMs();
  return {
    lap(part) {
      const atMs = nowMs();
      laps.set(part, (laps.get(part) ?? 0) + atMs - lastMs);
      lastMs = atMs;
    },
    laps: () => Object.fromEntries([...laps].map(([part, ms]) => [`${part}Ms`, Math.round(ms)])),
  };
};
