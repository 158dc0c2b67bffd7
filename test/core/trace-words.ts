// The words of a trace's commands: each says what it should be.

export function word(words: readonly string[], at: number): string {
  const found = words[at];
  if (found === undefined) throw new Error(`should have ${at + 1} words or more`);
  return found;
}

export function numberOf(text: string): number {
  const number = Number(text);
  if (!Number.isFinite(number)) throw new Error(`${text}: should be a number`);
  return number;
}

export function oneOf<T extends string>(text: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === text);
  if (found === undefined) throw new Error(`${text}: should be one of ${allowed.join(', ')}`);
  return found;
}

/** Takes the option out, so that those that nobody takes can be told. */
export function take(options: Map<string, string>, key: string, otherwise: string): string {
  const value = options.get(key) ?? otherwise;
  options.delete(key);
  return value;
}

export function assertTaken(options: Map<string, string>): void {
  if (options.size > 0) throw new Error(`no such option: ${[...options.keys()].join(', ')}`);
}
