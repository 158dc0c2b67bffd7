// Numbers and times as people read them. Pure.

const UNITS = ['B', 'K', 'M', 'G', 'T'];

/** `256M`, `1.5G`; at most three digits. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit > 0 && value < 10 && !Number.isInteger(Math.round(value * 10) / 10) ? 1 : 0;
  return `${value.toFixed(digits)}${UNITS[unit]}`;
}

/** `12s`, `5m`, `3h`, `4d`: the largest unit that fits. */
export function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

/** How long something took: `0.4 s`, `12 s`, `2 min 5 s`. */
export function formatTook(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
}

/** The last moment that a date can hold, ms from 1970. */
const TIME_MS_MAX = 8_640_000_000_000_000;

/**
 * A time that is none, of a node that is out of order, is shown as such: it must not keep the rest from being shown.
 */
export const formatTime = (atMs: number): string =>
  Math.abs(atMs) <= TIME_MS_MAX ? new Date(atMs).toISOString() : 'at no known time';
