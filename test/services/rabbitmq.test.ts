// RabbitMQ, with amqplib.

import { gzipSync } from 'node:zlib';
import { type ChannelModel, type ConfirmChannel, connect as dial } from 'amqplib';
import type { Access, Endpoint } from '../../node/ports/services.ts';
import { rabbitmq } from '../../node/services/rabbitmq.ts';
import { type Client, describeKind, type Refused } from './kinds.contract.ts';

async function open(access: Access, endpoint: Endpoint): Promise<ChannelModel> {
  const connection = await dial(String(rabbitmq.credentials(access, endpoint).uri), { timeout: 20_000 });
  connection.on('error', () => {});
  return connection;
}

/** Notes are messages of one durable queue that stay there: they are looked at, and given back. */
async function connect(access: Access, endpoint: Endpoint): Promise<Client> {
  const connection = await open(access, endpoint);
  const closed = new Promise<void>((resolve) => connection.once('close', () => resolve()));
  const gone = closed.then(() => {
    throw new Error('the connection was closed');
  });
  gone.catch(() => {});
  const channel: ConfirmChannel = await Promise.race([connection.createConfirmChannel(), gone]);
  channel.on('error', () => {});
  await Promise.race([channel.assertQueue('notes', { durable: true }), gone]);
  const look = async (): Promise<Map<string, string>> => {
    const looking = await connection.createChannel();
    const notes = new Map<string, string>();
    for (;;) {
      const message = await looking.get('notes');
      if (message === false) break;
      notes.set(String(message.properties.headers?.key), message.content.toString());
    }
    await looking.recover();
    await looking.close();
    return notes;
  };
  /** Of the looks that follow one another without a write between. */
  let seen: Map<string, string> | undefined;
  return {
    async write(key, value) {
      seen = undefined;
      const options = { persistent: true, headers: { key } };
      const confirmed = new Promise<void>((resolve, reject) => {
        channel.sendToQueue('notes', Buffer.from(value), options, (error) => (error ? reject(error) : resolve()));
      });
      await Promise.race([confirmed, gone]);
    },
    async read(key) {
      const notes = seen?.has(key) ? seen : await Promise.race([look(), gone]);
      seen = notes;
      return notes.get(key);
    },
    async clear() {
      seen = undefined;
      await channel.purgeQueue('notes');
    },
    async alter() {
      await channel.bindQueue('notes', 'amq.topic', 'notes.#');
    },
    closed,
    async close() {
      await connection.close().catch(() => {});
    },
  };
}

const refusedTo = (vhost: string): Refused => ({
  // The library's words for the answer of a server that closes the connection in the place of opening the host.
  says: /ConnectionClose/,
  async attempt({ user, password }, { host, port }) {
    const connection = await dial(`amqp://${user}:${password}@${host}:${port}/${vhost}`);
    await connection.close();
  },
});

describeKind({
  kind: rabbitmq,
  connect,
  spareConnections: 0,
  stopped: /msg_store_persistent' is stopped/,
  recovery: /msg_store_persistent": rebuilding indices/,
  firstRun: 'db/mnesia',
  refused: {
    'another virtual host': refusedTo('other'),
    'the virtual host of the server': refusedTo('%2F'),
  },
  foreign: {
    'a compressed text': gzipSync('What is this?'),
    'definitions of RabbitMQ': Buffer.from('{"rabbit_version":"3.10.8","users":[],"vhosts":[]}'),
  },
});
