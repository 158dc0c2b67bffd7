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
  stopped: /Shutdown complete/,
  firstRun: 'db.new/mysql',
  // For Peer's own connections.
  otherPorts: [3307],
  refused: {
    'to read files': refused(/Access denied/, "LOAD DATA INFILE '/data/setup.sql' INTO TABLE notes"),
    'to read files of clients': refused(
      /local|LOCAL|not allowed/,
      "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE notes",
    ),
    'to write files': refused(/Access denied/, "SELECT 1 INTO OUTFILE '/data/out'"),
    'to read files by a function': {
      says: /nothing was read/,
      async attempt(access, endpoint) {
        const client = await open(access, endpoint);
        try {
          const [[row]] = await client.query<RowDataPacket[]>("SELECT LOAD_FILE('/data/setup.sql') AS read_");
          if (row!.read_ === null) throw new Error('nothing was read');
        } finally {
          await client.end();
        }
      },
    },
    'to have more rights': refused(/Access denied/, 'GRANT ALL PRIVILEGES ON *.* TO CURRENT_USER()'),
    'to give its rights away': refused(/Access denied/, 'GRANT SELECT ON shop_data.* TO keeper@localhost'),
    "to see the administrator's rights": refused(/denied/, 'SHOW GRANTS FOR root@localhost'),
    "to set the administrator's password": refused(/denied/, "SET PASSWORD FOR root@127.0.0.1 = PASSWORD('x')"),
    'to load libraries': refused(/denied/, "INSTALL SONAME 'ha_connect'"),
    'to run code of libraries': refused(/denied/, "CREATE FUNCTION shout RETURNS STRING SONAME 'x.so'"),
    'to copy from other servers': refused(/Access denied/, "CHANGE MASTER TO MASTER_HOST = '127.0.0.1'"),
    'to name other servers': refused(
      /Access denied/,
      "CREATE SERVER x FOREIGN DATA WRAPPER mysql OPTIONS (HOST '::1')",
    ),
    'to stop everyone': refused(/Access denied/, 'FLUSH TABLES WITH READ LOCK'),
    'to shut it down': refused(/Access denied/, 'SHUTDOWN'),
    'to end what others run': refused(/Unknown thread|not owner/, 'KILL 1'),
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
    'a dump that runs programs': Buffer.from('-- MySQL dump 10.13\n\\! touch /data/escaped\n-- Dump completed\n'),
    'a dump of other databases': Buffer.from('-- MySQL dump 10.13\nUSE mysql;\nDROP TABLE user;\n-- Dump completed\n'),
  },
});
