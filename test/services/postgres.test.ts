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

const run = async (access: Access, endpoint: Endpoint, ...statements: string[]): Promise<void> => {
  const client = await open(access, endpoint);
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
};

/** Would have whoever calls it make everyone an administrator, and fails where it cannot. */
const SEIZE = 'LANGUAGE plpgsql AS $$ BEGIN ALTER ROLE bfedcba9876543210 SUPERUSER; RETURN true; END $$';

describeKind({
  kind: postgres,
  connect,
  spareConnections: 0,
  recovery: /database system was interrupted|not properly shut down/,
  stopped: /database system is shut down/,
  firstRun: 'db.new/PG_VERSION',
  clings: {
    async 'by holding its own record'(access, endpoint) {
      const client = await open(access, endpoint);
      for (const statement of ['SET ROLE NONE', 'BEGIN', `ALTER ROLE "${access.user}" PASSWORD 'Another1'`]) {
        await client.query(statement);
      }
      return () => client.end();
    },
    async 'by settings of its database'(access, endpoint) {
      const set = (setting: string): string => `ALTER DATABASE "${access.database}" SET ${setting}`;
      await run(
        access,
        endpoint,
        ...['role = owner', 'default_transaction_read_only = on', 'statement_timeout = 1', 'lock_timeout = 1'].map(set),
      );
      return (other) =>
        run(
          other,
          endpoint,
          'SET statement_timeout = 0',
          'SET default_transaction_read_only = off',
          `ALTER DATABASE "${access.database}" RESET ALL`,
        );
    },
    async 'by making what the engine has under the same name'(access, endpoint) {
      await run(
        access,
        endpoint,
        `CREATE FUNCTION public.seize(name, name) RETURNS boolean ${SEIZE}`,
        `CREATE FUNCTION public.seize(bigint, text) RETURNS boolean ${SEIZE}`,
        'CREATE OPERATOR public.|| (LEFTARG = bigint, RIGHTARG = text, FUNCTION = public.seize)',
        'CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = name, FUNCTION = public.seize)',
        'CREATE SCHEMA peer',
        'CREATE VIEW peer.pg_roles AS SELECT NULL::name AS rolname',
        'CREATE VIEW peer.pg_class AS SELECT * FROM pg_catalog.pg_class',
        `ALTER DATABASE "${access.database}" SET search_path = peer, public, pg_catalog`,
      );
      return (other) =>
        run(
          other,
          endpoint,
          `ALTER DATABASE "${access.database}" RESET ALL`,
          'DROP SCHEMA peer CASCADE',
          'DROP FUNCTION public.seize(name, name), public.seize(bigint, text) CASCADE',
        );
    },
  },
  refused: {
    'to run programs': refused(/must be superuser/, "COPY (SELECT 1) TO PROGRAM 'cat'"),
    'to run programs as the role they log in as': refused(
      /must be superuser/,
      'SET ROLE NONE',
      "COPY (SELECT 1) TO PROGRAM 'cat'",
    ),
    'to read files': refused(/permission denied/, "SELECT pg_read_file('/data/admin-password')"),
    'to write files': refused(/must be superuser/, "COPY (SELECT 1) TO '/data/out'"),
    'to read files as large objects': refused(/permission denied/, "SELECT lo_import('/data/admin-password')"),
    'to write files as large objects': refused(/permission denied/, "SELECT lo_export(1, '/data/out')"),
    'to list files': refused(/permission denied/, "SELECT pg_ls_dir('/data')"),
    'to see who may come in': refused(/permission denied/, 'SELECT * FROM pg_hba_file_rules'),
    'to see passwords': refused(/permission denied/, 'SELECT * FROM pg_authid'),
    'to load libraries': refused(/not allowed/, "LOAD '/data/x.so'"),
    'to run code of libraries': refused(
      /permission denied/,
      "CREATE FUNCTION x() RETURNS int LANGUAGE c AS '/data/x.so', 'x'",
    ),
    'to call other servers': refused(/permission denied to create extension/, 'CREATE EXTENSION dblink'),
    'to call other servers by tables': refused(
      /permission denied to create extension/,
      'CREATE EXTENSION postgres_fdw',
    ),
    'to read files by tables': refused(/permission denied to create extension/, 'CREATE EXTENSION file_fdw'),
    'to subscribe to other servers': refused(
      /must be superuser/,
      "CREATE SUBSCRIPTION x CONNECTION 'host=127.0.0.1' PUBLICATION x WITH (connect = false)",
    ),
    'to be a replica': refused(/superuser or replication role/, "SELECT pg_create_physical_replication_slot('x')"),
    'to make other databases': refused(/permission denied/, 'CREATE DATABASE other'),
    'to have everything logged': refused(/permission denied/, "SET log_statement = 'all'"),
    'to have files read again': refused(/permission denied/, 'SELECT pg_reload_conf()'),
    'to act on every command': refused(
      /[Mm]ust be superuser|permission denied/,
      "CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
      'CREATE EVENT TRIGGER watch ON ddl_command_start EXECUTE FUNCTION watch()',
    ),
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
