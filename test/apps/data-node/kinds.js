// For each kind of service: `client(uri)`, which writes and reads notes and connects anew when it has to; and `open(uri)`,
// one connection that says when it has ended.

import amqplib from 'amqplib';
import { Redis } from 'ioredis';
import mysql from 'mysql2/promise';
import pg from 'pg';

const TIMEOUT_MS = 10_000;
const ignore = () => {};
const endOf = (emitter, event) => new Promise((resolve) => emitter.once(event, resolve));

const postgres = {
  client(uri) {
    const pool = new pg.Pool({ connectionString: uri, max: 2, connectionTimeoutMillis: TIMEOUT_MS });
    pool.on('error', ignore);
    return {
      async write(key, value) {
        await pool.query('CREATE TABLE IF NOT EXISTS notes (key text PRIMARY KEY, value text)');
        const upsert = 'INSERT INTO notes VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value';
        await pool.query(upsert, [key, value]);
      },
      read: async (key) => (await pool.query('SELECT value FROM notes WHERE key = $1', [key])).rows[0]?.value,
    };
  },
  async open(uri) {
    const client = new pg.Client({ connectionString: uri, connectionTimeoutMillis: TIMEOUT_MS });
    client.on('error', ignore);
    const closed = endOf(client, 'end');
    await client.connect();
    await client.query('SELECT 1');
    return { closed, close: () => client.end() };
  },
};

const mysqlKind = {
  client(uri) {
    const pool = mysql.createPool({ uri, connectionLimit: 2, connectTimeout: TIMEOUT_MS });
    return {
      async write(key, value) {
        await pool.query('CREATE TABLE IF NOT EXISTS notes (name varchar(100) PRIMARY KEY, value text)');
        await pool.query('REPLACE INTO notes (name, value) VALUES (?, ?)', [key, value]);
      },
      read: async (key) => (await pool.query('SELECT value FROM notes WHERE name = ?', [key]))[0][0]?.value,
    };
  },
  async open(uri) {
    const client = await mysql.createConnection({ uri, connectTimeout: TIMEOUT_MS });
    client.on('error', ignore);
    const closed = endOf(client.connection.stream, 'close');
    return { closed, close: () => client.end() };
  },
};

const redis = {
  client(uri) {
    const client = new Redis(uri, { maxRetriesPerRequest: 2, connectTimeout: TIMEOUT_MS });
    client.on('error', ignore);
    return {
      write: (key, value) => client.set(key, value),
      read: async (key) => (await client.get(key)) ?? undefined,
    };
  },
  async open(uri) {
    const client = new Redis(uri, { lazyConnect: true, retryStrategy: () => null, connectTimeout: TIMEOUT_MS });
    let problem;
    client.on('error', (error) => (problem ??= error));
    const closed = endOf(client, 'end');
    try {
      await client.connect();
      await client.get('anything');
    } catch (error) {
      client.disconnect();
      throw problem ?? error;
    }
    return { closed, close: () => client.disconnect() };
  },
};

const rabbitmq = {
  /** A note is the message of a queue of its name: taken to be read, and given back. */
  client(uri) {
    let opening;
    const channel = async () => {
      opening ??= (async () => {
        const connection = await amqplib.connect(uri, { timeout: TIMEOUT_MS });
        connection.on('error', ignore);
        connection.once('close', () => (opening = undefined));
        const made = await connection.createConfirmChannel();
        made.on('error', ignore);
        return made;
      })();
      return opening.catch((error) => {
        opening = undefined;
        throw error;
      });
    };
    return {
      async write(key, value) {
        const on = await channel();
        await on.assertQueue(key, { durable: true });
        await on.purgeQueue(key);
        on.sendToQueue(key, Buffer.from(value), { persistent: true });
        await on.waitForConfirms();
      },
      async read(key) {
        const on = await channel();
        await on.assertQueue(key, { durable: true });
        const message = await on.get(key);
        if (message === false) return undefined;
        on.nack(message);
        return message.content.toString();
      },
    };
  },
  async open(uri) {
    const connection = await amqplib.connect(uri, { timeout: TIMEOUT_MS });
    connection.on('error', ignore);
    return { closed: endOf(connection, 'close'), close: () => connection.close() };
  },
};

export const kinds = { postgres, mysql: mysqlKind, redis, rabbitmq };
