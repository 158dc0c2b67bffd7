// How old something is, for people.

const UNITS = [
  { ms: 24 * 60 * 60_000, name: 'd' },
  { ms: 60 * 60_000, name: 'h' },
  { ms: 60_000, name: 'min' },
  { ms: 1_000, name: 's' },
] as const;

/** `12 min`: whole units, the largest that fits. */
export function ageText(ms: number): string {
  const { ms: unitMs, name } = UNITS.find((one) => ms >= one.ms) ?? UNITS.at(-1)!;
  return `${Math.max(0, Math.floor(ms / unitMs))} ${name}`;
}
