// A client that writes to a service without a pause, one id after the other, and says on stdout which were
// acknowledged; it finds back by itself when its connection ends. Told by its environment what to do: KIND, URL, and
// DO: `write` until SIGTERM, or `read`, which prints all ids that are there. A process of its own, as it stands in an
// app's network.

import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import amqp from 'amqplib';
import { Redis } from 'ioredis';
import mysql from 'mysql2/promise';
import pg from 'pg';

type Client = { write(id: string): Promise<void>; all(): Promise<string[]>; close(): unknown };

const TIMEOUT_MS = 5_000;
const AGAIN_MS = 200;
const QUEUE = 'written';

const OPEN: Readonly<Record<string, (url: string) => Promise<Client>>> = { postgres, mysql: mariadb, redis, rabbitmq };

async function postgres(url: string): Promise<Client> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: TIMEOUT_MS,
    query_timeout: TIMEOUT_MS,
  });
  client.on('error', () => {});
  await client.connect();
  await client.query('CREATE TABLE IF NOT EXISTS written (id text PRIMARY KEY)');
  return {
    write: async (id) => void (await client.query('INSERT INTO written VALUES ($1)', [id])),
    all: async () => (await client.query<{ id: string }>('SELECT id FROM written')).rows.map(({ id }) => id),
    close: () => client.end(),
  };
}

async function mariadb(url: string): Promise<Client> {
  const client = await mysql.createConnection({ uri: url, connectTimeout: TIMEOUT_MS });
  client.on('error', () => {});
  await client.query('CREATE TABLE IF NOT EXISTS written (id varchar(64) PRIMARY KEY)');
  return {
    write: async (id) =>
      void (await client.query({ sql: 'INSERT INTO written VALUES (?)', timeout: TIMEOUT_MS }, [id])),
    all: async () => {
      const [rows] = await client.query('SELECT id FROM written');
      return (rows as { id: string }[]).map(({ id }) => id);
    },
    close: () => client.destroy(),
  };
}

async function redis(url: string): Promise<Client> {
  const client = new Redis(url, {
    ...{ lazyConnect: true, retryStrategy: () => null, maxRetriesPerRequest: 0 },
    ...{ connectTimeout: TIMEOUT_MS, commandTimeout: TIMEOUT_MS, enableOfflineQueue: false },
  });
  client.on('error', () => {});
  await client.connect();
  return {
    write: async (id) => void (await client.set(`written:${id}`, '1')),
    all: async () => {
      const ids: string[] = [];
      for (let cursor = '0'; ; ) {
        const [next, keys] = await client.scan(cursor, 'MATCH', 'written:*', 'COUNT', 1_000);
        ids.push(...keys.map((key) => key.slice('written:'.length)));
        if (next === '0') return ids;
        cursor = next;
      }
    },
    close: () => client.disconnect(),
  };
}

async function rabbitmq(url: string): Promise<Client> {
  const connection = await amqp.connect(url, { timeout: TIMEOUT_MS });
  connection.on('error', () => {});
  const channel = await connection.createConfirmChannel();
  const failed = new Promise<never>((_, reject) => {
    for (const part of [channel, connection]) part.on('close', () => reject(new Error('the connection ended')));
  });
  failed.catch(() => {});
  channel.on('error', () => {});
  await channel.assertQueue(QUEUE, { durable: true });
  return {
    write: async (id) => {
      const confirmed = new Promise<void>((resolve, reject) => {
        channel.sendToQueue(QUEUE, Buffer.from(id), { persistent: true }, (error) =>
          error ? reject(error) : resolve(),
        );
      });
      confirmed.catch(() => {});
      await Promise.race([confirmed, failed, late()]);
    },
    all: async () => {
      const ids: string[] = [];
      for (;;) {
        const message = await channel.get(QUEUE, { noAck: true });
        if (message === false) return ids;
        ids.push(message.content.toString());
      }
    },
    close: () => connection.close().catch(() => {}),
  };
}

async function late(): Promise<never> {
  await delay(TIMEOUT_MS, undefined, { ref: false });
  throw new Error('no answer');
}

async function write(open: () => Promise<Client>): Promise<void> {
  let isEnding = false;
  process.once('SIGTERM', () => {
    isEnding = true;
  });
  let client: Client | undefined;
  for (let id = 0; !isEnding; id++) {
    try {
      client ??= await open();
      await client.write(String(id));
      process.stdout.write(`${id}\n`);
    } catch {
      // Whether it was written is not known: it was not acknowledged. The next has an id of its own.
      await Promise.resolve(client?.close()).catch(() => {});
      client = undefined;
      await delay(AGAIN_MS);
    }
  }
}

async function read(open: () => Promise<Client>): Promise<void> {
  const client = await open();
  const lines = (await client.all()).map((id) => `${id}\n`).join('');
  // The process ends next, and takes what is not written along.
  await new Promise((resolve) => process.stdout.write(lines, resolve));
}

/** Lines of a stream, as they come. */
export const linesOf = (stream: NodeJS.ReadableStream): AsyncIterable<string> => createInterface({ input: stream });

if (import.meta.main) {
  const { KIND = '', URL: url = '', DO } = process.env;
  const open = (): Promise<Client> => OPEN[KIND]!(url);
  await (DO === 'read' ? read(open) : write(open));
  process.exit(0);
}
