// Services as apps reach them, in each runtime: by name, from the first moment on, while they are bound and no longer.
// The service is an app that answers HTTP; what the ways are made of is in service-calls.test.ts.

import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AppId, asAppId, asServiceId } from '../../crdt/ids.ts';
import type { ServiceCall } from '../../node/ports/runtime.ts';
import type { CommandsHarness } from './commands.contract.ts';
import { dockerHarness } from './docker-harness.ts';
import { processHarness } from './harness.ts';
import { type Address, Opened, SERVER, shell, specOf } from './runtime.contract.ts';

const ADDRESS = '198.18.7.9';
const PORT = 5432;
const NAME = 'orders.service.internal';

/** Says what the service answers, or why it does not; exits once it is known. */
const ASK = `
fetch('http://${NAME}:${PORT}/').then((answer) => answer.text(), (error) => error.cause.code).then(console.log);
`;
/** Says how a connection that stays open ends. */
const STAY = `
const socket = require('node:net').connect(${PORT}, '${NAME}', () => require('node:fs').writeFileSync('open', ''));
const end = (how) => { console.log(how); process.exit(); };
socket.on('end', () => end('end'));
socket.on('error', (error) => end(error.code));
socket.resume();
`;

describe.each<[string, () => Promise<CommandsHarness>]>([
  ['process', () => processHarness()],
  ['docker', () => dockerHarness()],
])('a service in the runtime %s', (_kind, makeHarness) => {
  const [SHOP, BLOG, DB] = [asAppId(randomUUID()), asAppId(randomUUID()), asAppId(randomUUID())];
  let harness: CommandsHarness;
  let node: Opened;
  let service: Address;

  const start = async (app: AppId): Promise<Address> => {
    const digest = await harness.droplet({ 'app/server.js': SERVER, 'app/ask.js': ASK, 'app/stay.js': STAY });
    const spec = specOf(digest, {
      app: { id: app, name: 'app' },
      droplet: { digest, sizeBytes: 0, stack: harness.stack },
      hosts: [{ name: NAME, address: ADDRESS }],
      // The first thing that it does is to ask.
      command: 'node ask.js >asked; exec node server.js',
    });
    node.runtime.start(spec);
    return node.ready(spec.id);
  };
  const call = (...apps: AppId[]): ServiceCall => ({
    service: asServiceId(randomUUID()),
    address: ADDRESS,
    port: PORT,
    apps,
    to: { host: service.host!, port: service.port },
  });
  const ask = async (at: Address): Promise<string> => (await shell(at, 'cd ~; node ask.js')).out.trim();

  beforeAll(async () => {
    harness = await makeHarness();
    node = new Opened(await harness.open());
    service = await start(DB);
    await node.runtime.setServiceCalls!([call(SHOP)]);
  });
  afterAll(async () => {
    await node.runtime.close({ keepInstances: false });
    await harness.dispose();
  });

  it('is reached by a bound app by its name, from its first moment on', async () => {
    const shop = await start(SHOP);
    expect((await shell(shop, 'cat ~/asked')).out.trim()).toBe('hello');
    expect(await ask(shop)).toBe('hello');
  });

  it('is refused to an app that is not bound, though it knows the address', async () => {
    const blog = await start(BLOG);
    expect(await ask(blog)).toBe('ECONNREFUSED');
    await node.runtime.setServiceCalls!([call(SHOP, BLOG)]);
    expect(await ask(blog)).toBe('hello');
    await node.runtime.setServiceCalls!([call(SHOP)]);
    expect(await ask(blog)).toBe('ECONNREFUSED');
  });

  it('ends what is open as soon as the app is not bound any more', async () => {
    const shop = await start(SHOP);
    await shell(shop, 'cd ~; rm -f open; node stay.js >ended 2>&1 & while [ ! -e open ]; do sleep 0.1; done');
    await node.runtime.setServiceCalls!([]);
    const ended = await shell(shop, 'cd ~; for i in $(seq 100); do [ -s ended ] && break; sleep 0.1; done; cat ended');
    expect(ended.out.trim()).not.toBe('');
    expect(await ask(shop)).toBe('ECONNREFUSED');
    await node.runtime.setServiceCalls!([call(SHOP)]);
  });
});
