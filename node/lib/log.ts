// The daemon's own log: one line an event on stderr, the event's name first, then key=value. Never given secrets.

/** Structured log of the daemon itself: the event's name first. Never pass secrets. */
export type Log = {
  debug(event: string, fields?: object): void;
  info(event: string, fields?: object): void;
  warn(event: string, fields?: object): void;
  error(event: string, fields?: object): void;
};

const LEVELS = ['debug', 'info', 'warn', 'error'] as const;
type Level = (typeof LEVELS)[number];

/** A longer value is cut: a log line is for reading, and input must not be able to flood it. */
const VALUE_LENGTH_MAX = 400;

export function createLog(write: (line: string) => void, least: Level = 'info'): Log {
  const from = LEVELS.indexOf(least);
  const at =
    (level: Level) =>
    (event: string, fields: object = {}): void => {
      if (LEVELS.indexOf(level) < from) return;
      const pairs = Object.entries(fields).map(([key, value]) => ` ${key}=${formatValue(value)}`);
      write(`${new Date().toISOString()} ${level} ${event}${pairs.join('')}\n`);
    };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

function formatValue(value: unknown): string {
  const text =
    value instanceof Error ? value.message : typeof value === 'string' ? value : (JSON.stringify(value) ?? 'undefined');
  const cut = text.length > VALUE_LENGTH_MAX ? `${text.slice(0, VALUE_LENGTH_MAX)}…` : text;
  return /^[\w.:/@+-]*$/.test(cut) ? cut : JSON.stringify(cut);
}
