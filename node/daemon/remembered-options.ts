// What a start remembers for the next one on the same data directory: its options, with the ports that were chosen. So
// a node comes back where the others know it, with no flag but --data-dir.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import { parseHostPort } from '../lib/host-port.ts';
import type { NodeOptions, StartOptions } from './options.ts';

const FILE = 'options.json';
const LISTENERS = ['listen', 'link', 'api', 'http'] as const;
type Listener = (typeof LISTENERS)[number];

type Remembered = {
  options: Partial<StartOptions>;
  /** Listeners that asked for any port: they keep the one they got while it is free. */
  anyPort: Listener[];
};

/** Empty for a fresh directory, or when the file cannot be read: then the flags and the defaults decide. */
export async function recallOptions(dataDir: string): Promise<Partial<StartOptions>> {
  let remembered: Partial<Remembered>;
  try {
    remembered = JSON.parse(await readFile(join(dataDir, FILE), 'utf8')) as Partial<Remembered>;
  } catch {
    return {};
  }
  const options = { ...remembered.options };
  for (const listener of remembered.anyPort ?? []) {
    const address = options[listener];
    if (typeof address === 'string' && !(await isFree(address))) options[listener] = withPort(address, 0);
  }
  return options;
}

/** @param bound what each listener was bound to, `host:port`. */
export async function rememberOptions(options: NodeOptions, bound: Record<Listener, string>): Promise<void> {
  const { join: _, unlock: __, dataDir, ...kept } = options;
  const remembered: Remembered = { options: kept, anyPort: [] };
  for (const listener of LISTENERS) {
    const asked = parseHostPort(options[listener]);
    const got = parseHostPort(bound[listener]);
    if (asked === undefined || got === undefined) continue;
    // Asked for any port now, or in an earlier life: either way nobody insisted on this one.
    if (asked.port === 0) remembered.anyPort.push(listener);
    kept[listener] = withPort(options[listener], got.port);
  }
  const before = await recallAnyPorts(dataDir);
  for (const listener of before.anyPort) {
    const isTheSame = before.options[listener] === options[listener];
    if (isTheSame && !remembered.anyPort.includes(listener)) remembered.anyPort.push(listener);
  }
  await writeFileAtomic(join(dataDir, FILE), `${JSON.stringify(remembered)}\n`, { mode: 0o600 });
}

async function recallAnyPorts(dataDir: string): Promise<Remembered> {
  try {
    const { options = {}, anyPort = [] } = JSON.parse(
      await readFile(join(dataDir, FILE), 'utf8'),
    ) as Partial<Remembered>;
    return { options, anyPort };
  } catch {
    return { options: {}, anyPort: [] };
  }
}

const withPort = (address: string, port: number): string => address.replace(/:\d+$/, `:${port}`);

function isFree(address: string): Promise<boolean> {
  const parsed = parseHostPort(address);
  if (parsed === undefined) return Promise.resolve(false);
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ host: parsed.host, port: parsed.port }, () => server.close(() => resolve(true)));
  });
}
