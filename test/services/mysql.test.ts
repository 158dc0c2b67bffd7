// MariaDB, with mysql2.

import { gzipSync } from 'node:zlib';
import mysql2, { type Connection, type RowDataPacket } from 'mysql2/promise';
import type { Access, Endpoint } from '../../node/ports/services.ts';
import { mysql } from '../../node/services/mysql.ts';
import { type Client, describeKind, type Refused } from './kinds.contract.ts';

async function open({ user, password, database }: Access, { host, port }: Endpoint): Promise<Connection> {
  const client = await mysql2.createConnection({ host, port, user, password, database, connectTimeout: 20_000 });
  client.on('error', () => {});
  return client;
}

async function connect(access: Access, endpoint: Endpoint): Promise<Client> {
  const client = await open(access, endpoint);
  // Its types know of the promises alone.
  const { connection } = client as unknown as { connection: { stream: NodeJS.ReadableStream } };
  const closed = new Promise<void>((resolve) => connection.stream.once('close', () => resolve()));
  const table = 'CREATE TABLE IF NOT EXISTS notes (name varchar(100) PRIMARY KEY, value text)';
  return {
    async write(key, value) {
      const upsert = 'REPLACE INTO notes (name, value) VALUES (?, ?)';
      await client.query(upsert, [key, value]).catch(async (error: { code?: string }) => {
        if (error.code !== 'ER_NO_SUCH_TABLE') throw error;
        await client.query(table);
        // Belongs to whoever makes it, and has to outlive that access.
        await client.query('CREATE OR REPLACE VIEW looked AS SELECT name, value FROM notes');
        await client.query(upsert, [key, value]);
      });
    },
    read: async (key) =>
      (await client.query<RowDataPacket[]>('SELECT value FROM looked WHERE name = ?', [key]))[0][0]?.value,
    async clear() {
      await client.query('DELETE FROM notes');
    },
    async alter() {
      await client.query('ALTER TABLE notes ADD COLUMN IF NOT EXISTS remark text');
      await client.query('CREATE OR REPLACE VIEW looked AS SELECT name, value FROM notes');
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
  kind: mysql,
  connect,
  spareConnections: 0,
  recovery: /[Cc]rash recovery/,
  firstRun: 'db.new/mysql',
  refused: {
    'to read files': refused(/Access denied/, "LOAD DATA INFILE '/data/setup.sql' INTO TABLE notes"),
    'to read files of clients': refused(
      /local|LOCAL|not allowed/,
      "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE notes",
    ),
    'to write files': refused(/Access denied/, "SELECT 1 INTO OUTFILE '/data/out'"),
    'to make users': refused(/Access denied/, 'CREATE USER other'),
    'to see the users': refused(/denied/, 'SELECT * FROM mysql.global_priv'),
    'to change settings of the server': refused(/Access denied/, 'SET GLOBAL max_connections = 1000'),
    'to make other databases': refused(/Access denied/, 'CREATE DATABASE other'),
    'a database whose name is alike': refused(/Access denied/, 'CREATE DATABASE shopXdata'),
    'to do it as someone else': refused(/Access denied/, 'CREATE DEFINER = root@localhost VIEW stolen AS SELECT 1'),
    'another database': {
      says: /Access denied/,
      attempt: (access, endpoint) => open({ ...access, database: 'mysql' }, endpoint),
    },
  },
  foreign: {
    'a compressed text': gzipSync('What is this?'),
    'a dump without its end': Buffer.from('-- MySQL dump 10.13\nSELECT 1;\n'),
    'a dump that does not load': Buffer.from('-- MySQL dump 10.13\nCREATE TABLE broken (;\n-- Dump completed\n'),
    'a dump of other databases': Buffer.from('-- MySQL dump 10.13\nUSE mysql;\nDROP TABLE user;\n-- Dump completed\n'),
  },
});
