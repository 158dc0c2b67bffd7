// PostgreSQL's log of changes on the real engine: what is put aside, and that data of a moment is made of a base and
// the pieces after it, no more and no less.

import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { postgres } from '../../node/services/postgres.ts';
import { postgresArchive as archive } from '../../node/services/postgres-archive.ts';
import { DEADLINE_MS, type ServiceHost, serviceHost, type TestService } from './harness.ts';

const ACCESS = ['b0123456789abcdef', 'FirstPassword1'] as const;
const TIMEOUT_MS = 2 * DEADLINE_MS;

let host: ServiceHost;
let service: TestService;
let client: pg.Client;
let first: string;
let base: Buffer;
/** Fetched, by the name of the first of each. */
const pieces: { names: string[]; content: Buffer }[] = [];

const clientOf = async (of: TestService): Promise<pg.Client> => {
  const { user, password, database } = of.access(...ACCESS);
  const made = new pg.Client({ ...of.endpoint, user, password, database });
  made.on('error', () => {});
  await made.connect();
  return made;
};
const lines = (output: Buffer): string[] => output.toString().split('\n').filter(Boolean);
const note = (text: string) => client.query('INSERT INTO notes VALUES ($1)', [text]);

async function fetchAll(): Promise<string[]> {
  const sealed = lines(await service.must(archive.seal(service.context)));
  const names = sealed.filter(archive.isName);
  if (names.length > 0) {
    pieces.push({ names, content: await service.must(archive.pack(service.context, names)) });
    await service.must(archive.drop(service.context, names));
  }
  return sealed;
}

/** What was in the table at that moment, by a backup that is restored as any other. */
async function notesAt(atMs: number): Promise<string[]> {
  const past = await host.open(postgres, 'shop-db');
  await past.start();
  await past.must(archive.unpackBase(past.context), base);
  for (const { content } of pieces) await past.must(archive.unpackLog(past.context), content);
  const backup = await past.must(archive.recover(past.context, atMs));
  expect(backup.subarray(0, 5).toString()).toBe('PGDMP');
  await past.must(postgres.restore!(past.context), backup);
  await past.must(postgres.grant(past.context, past.access(...ACCESS)));
  const reader = await clientOf(past);
  const { rows } = await reader.query('SELECT text FROM notes ORDER BY text');
  await reader.end();
  await past.stop();
  return rows.map(({ text }) => text);
}

beforeAll(async () => {
  host = await serviceHost();
  service = await host.open(postgres, 'shop-db', { wal: true });
  await service.start();
  await service.must(postgres.grant(service.context, service.access(...ACCESS)));
  client = await clientOf(service);
  await client.query('CREATE TABLE notes (text text)');
}, TIMEOUT_MS);
afterAll(() => host.dispose());

describe('the log of changes of PostgreSQL', { timeout: TIMEOUT_MS }, () => {
  const moments: number[] = [];

  it('is closed and fetched piece by piece, one after the other, and then nothing waits', async () => {
    await note('a: before the base');
    [first] = lines(await service.must(archive.position(service.context))) as [string];
    base = await service.must(archive.base(service.context));
    for (const text of ['b: first', 'c: second', 'd: third']) {
      await note(text);
      moments.push(Date.now());
      await vi.waitFor(() => expect(Date.now()).toBeGreaterThan(moments.at(-1)! + 20));
      await fetchAll();
    }
    const names = pieces.flatMap((one) => one.names);
    expect(names).toContain(first);
    for (const [at, name] of names.entries()) if (at > 0) expect(archive.next(names[at - 1]!)).toBe(name);
    // What the server writes by itself comes to an end.
    await vi.waitFor(async () => expect(await fetchAll()).toEqual([]), { timeout: DEADLINE_MS });
  });

  it('gives the data of a moment between, with what was committed by then and nothing of what came later', async () => {
    expect(await notesAt(moments[1]!)).toEqual(['a: before the base', 'b: first', 'c: second']);
  });

  it('gives all of it for a moment after the last change', async () => {
    expect(await notesAt(Date.now())).toEqual(['a: before the base', 'b: first', 'c: second', 'd: third']);
  });

  it('says when pieces were given up, as nobody fetched them', async () => {
    // A quarter of the plan's storage.
    const waitingMax = 16;
    let sealed: string[] = [];
    let rounds = 0;
    for (; sealed[0] !== 'gap' && rounds < 2 * waitingMax; rounds++) {
      expect(sealed.length).toBeLessThanOrEqual(waitingMax);
      await note(`e: ${rounds}`);
      sealed = lines(await service.must(archive.seal(service.context)));
    }
    expect(rounds).toBeGreaterThan(waitingMax / 2);
    expect([sealed[0], sealed.length <= 3]).toEqual(['gap', true]);
  });
});

describe('names of pieces', () => {
  it.each([
    ['000000010000000000000004', '000000010000000000000005'],
    ['0000000100000000000000FF', '000000010000000100000000'],
    ['00000001000000AB000000FF', '00000001000000AC00000000'],
  ])('after %s comes %s', (name, next) => expect(archive.next(name)).toBe(next));

  it('that are none are in no command', () => {
    expect(() => archive.pack({} as never, ['$(id)'])).toThrow('is no name of a segment');
  });
});
