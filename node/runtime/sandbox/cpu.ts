// Decides what an instance gets of the processors: a share by its memory when others want them too, and no more than a
// bound when nobody does. The same in every runtime. Pure.

/**
 * Memory that gets the default share of the processor; shares follow memory, within the bounds, as on Cloud Foundry.
 */
const CPU_BASE_BYTES = 256 * 1024 * 1024;
const CPU_WEIGHT_BASE = 100;
const CPU_WEIGHT_MIN = 10;
const CPU_WEIGHT_MAX = 1_000;
/** Version 1 of control groups, and engines, count in shares: 1024 where version 2 says 100. */
const CPU_SHARES_PER_WEIGHT = 10.24;

/** The quota is per period, in µs; this one is the kernel's default. */
export const CPU_PERIOD_US = 100_000;
/** Below that a runtime's own threads, which collect garbage and compile, would take the app's turn. */
const PROCESSORS_MIN = 2;

export function cpuWeight(memoryBytes: number): number {
  const weight = Math.round((memoryBytes / CPU_BASE_BYTES) * CPU_WEIGHT_BASE);
  return Math.min(CPU_WEIGHT_MAX, Math.max(CPU_WEIGHT_MIN, weight));
}

export function cpuShares(memoryBytes: number): number {
  return Math.round(cpuWeight(memoryBytes) * CPU_SHARES_PER_WEIGHT);
}

/**
 * Time on all processors together in each period, in µs: one processor's for each 256 MiB. Beyond what the machine has
 * it bounds nothing.
 */
export function cpuQuotaUs(memoryBytes: number): number {
  return Math.round(Math.max(PROCESSORS_MIN, memoryBytes / CPU_BASE_BYTES) * CPU_PERIOD_US);
}
