// Redis, with ioredis.

import { Redis } from 'ioredis';
import type { Access, Endpoint } from '../../node/ports/services.ts';
import { redis } from '../../node/services/redis.ts';
import { type Client, describeKind, type Refused } from './kinds.contract.ts';

async function open({ user, password }: Access, { host, port }: Endpoint): Promise<Redis> {
  const client = new Redis({
    ...{ host, port, username: user, password },
    ...{ lazyConnect: true, retryStrategy: () => null, maxRetriesPerRequest: 0, connectTimeout: 20_000 },
  });
  let problem: Error | undefined;
  client.on('error', (error) => {
    problem ??= error;
  });
  try {
    await client.connect();
    await client.get('anything');
    return client;
  } catch (error) {
    client.disconnect();
    throw problem ?? error;
  }
}

async function connect(access: Access, endpoint: Endpoint): Promise<Client> {
  const client = await open(access, endpoint);
  const closed = new Promise<void>((resolve) => client.once('end', () => resolve()));
  return {
    async write(key, value) {
      await client.set(key, value);
    },
    read: async (key) => (await client.get(key)) ?? undefined,
    async clear() {
      await client.flushdb();
    },
    async alter() {
      await client.append('greeting', '');
    },
    closed,
    async close() {
      client.disconnect();
      await closed;
    },
  };
}

const refused = (...words: [string, ...string[]]): Refused => ({
  says: /NOPERM|not allowed/,
  async attempt(access, endpoint) {
    const client = await open(access, endpoint);
    try {
      await client.call(...words);
    } finally {
      client.disconnect();
    }
  },
});

describeKind({
  kind: redis,
  connect,
  spareConnections: 8,
  adminFromOutside: true,
  stopped: /bye bye/,
  firstRun: 'kind.json',
  refused: {
    'to see the configuration': refused('CONFIG', 'GET', '*'),
    'to change the configuration': refused('CONFIG', 'SET', 'dir', '/data'),
    'to load modules': refused('MODULE', 'LOAD', '/data/module.so'),
    'to debug the server': refused('DEBUG', 'SLEEP', '0'),
    'to see or change accesses': refused('ACL', 'LIST'),
    'to shut it down': refused('SHUTDOWN', 'NOSAVE'),
    'to copy it from elsewhere': refused('REPLICAOF', '127.0.0.1', '1'),
    'to watch what others do': refused('MONITOR'),
    'to end what others run': refused('CLIENT', 'KILL', 'TYPE', 'normal'),
    'to see its clients': refused('CLIENT', 'LIST'),
    'to hold all clients up': refused('CLIENT', 'PAUSE', '1000'),
    'to see what others asked': refused('SLOWLOG', 'GET'),
    'to have it write its files anew': refused('BGREWRITEAOF'),
    'to send keys elsewhere': refused('MIGRATE', '127.0.0.1', '1', 'key', '0', '1000'),
    'to bring in what was not made by it': refused('RESTORE', 'key', '0', 'x'),
    'to make it one of a cluster': refused('CLUSTER', 'MEET', '127.0.0.1', '1'),
    'to copy all of it': refused('SYNC'),
    'to make accesses out of a script': refused('EVAL', "return redis.call('ACL', 'SETUSER', 'other', 'on')", '0'),
    'to change its configuration out of a script': refused(
      'EVAL',
      "return redis.call('CONFIG', 'SET', 'dir', '/')",
      '0',
    ),
    'to read files out of a script': {
      ...refused('EVAL', "return io.open('/data/admin.acl'):read('*a')", '0'),
      says: /nonexistent global variable 'io'/,
    },
    // CVE-2022-0543: Debian's Redis let scripts do this.
    'to load libraries out of a script': {
      ...refused('EVAL', "return package.loadlib('/lib/x86_64-linux-gnu/libc.so.6', 'system')", '0'),
      says: /nonexistent global variable 'package'/,
    },
    'to debug it out of a script': {
      ...refused('EVAL', "return redis.call('DEBUG', 'JMAP')", '0'),
      says: /not allowed|can't run/,
    },
  },
  foreign: { 'the copy of an append-only file': Buffer.from('*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n') },
});
