// PostgreSQL, with node-postgres.

import pg from 'pg';
import type { Access, Endpoint } from '../../node/ports/services.ts';
import { postgres } from '../../node/services/postgres.ts';
import { type Client, describeKind, type Refused } from './kinds.contract.ts';

async function open({ user, password, database }: Access, { host, port }: Endpoint): Promise<pg.Client> {
  const client = new pg.Client({ host, port, user, password, database, connectionTimeoutMillis: 20_000 });
  client.on('error', () => {});
  await client.connect();
  return client;
}

async function connect(access: Access, endpoint: Endpoint): Promise<Client> {
  const client = await open(access, endpoint);
  const closed = new Promise<void>((resolve) => client.once('end', () => resolve()));
  const table = 'CREATE TABLE IF NOT EXISTS notes (key text PRIMARY KEY, value text)';
  return {
    async write(key, value) {
      const upsert = 'INSERT INTO notes VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value';
      await client.query(upsert, [key, value]).catch(async (error: { code?: string }) => {
        if (error.code !== '42P01') throw error;
        await client.query(table);
        await client.query(upsert, [key, value]);
      });
    },
    read: async (key) => (await client.query('SELECT value FROM notes WHERE key = $1', [key])).rows[0]?.value,
    async clear() {
      await client.query('DELETE FROM notes');
    },
    async alter() {
      await client.query('ALTER TABLE notes ADD COLUMN IF NOT EXISTS remark text');
    },
    closed,
    close: () => client.end(),
  };
}

const refused = (says: RegExp, ...statements: string[]): Refused => ({
  says,
  async attempt(access, endpoint) {
    const client = await open(access, endpoint);
    try {
      for (const statement of statements) await client.query(statement);
    } finally {
      await client.end();
    }
  },
});

describeKind({
  kind: postgres,
  connect,
  spareConnections: 0,
  recovery: /database system was interrupted|not properly shut down/,
  firstRun: 'db.new/PG_VERSION',
  refused: {
    'to run programs': refused(/must be superuser/, "COPY (SELECT 1) TO PROGRAM 'cat'"),
    'to run programs as the role they log in as': refused(
      /must be superuser/,
      'RESET ROLE',
      "COPY (SELECT 1) TO PROGRAM 'cat'",
    ),
    'to read files': refused(/permission denied/, "SELECT pg_read_file('/data/admin-password')"),
    'to write files': refused(/must be superuser/, "COPY (SELECT 1) TO '/data/out'"),
    'to make roles': refused(/permission denied/, 'CREATE ROLE other LOGIN'),
    'to become the administrator': refused(/permission denied/, 'SET ROLE peer'),
    'to become another access': refused(/permission denied/, 'SET ROLE bfedcba9876543210'),
    'to change settings of the server': refused(/permission denied/, "ALTER SYSTEM SET shared_buffers = '1GB'"),
    'another database': {
      says: /no pg_hba.conf entry/,
      attempt: (access, endpoint) => open({ ...access, database: 'postgres' }, endpoint),
    },
  },
  foreign: { 'a dump as text': Buffer.from('--\n-- PostgreSQL database dump\n--\nSELECT 1;\n') },
});
