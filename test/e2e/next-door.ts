// A host of its own (a network namespace) on a cable to this machine, with a server on it: what stands next to a node
// in its local network. Leaves nothing behind after remove().

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { run } from '../../scripts/local-cluster.ts';

/** Tells test runs of this machine that are under way at a time apart. */
const SLOT = process.pid % 60;
const NAMESPACE = `peer-next-door-${SLOT}`;
const CABLE = `peer-next${SLOT}`;
/** Of networks that nobody else has: a private one of our own choice, and one for documentation. @see RFC 5737 */
const MACHINE = `10.214.83.${4 * SLOT + 1}`;
const NEIGHBOUR = `10.214.83.${4 * SLOT + 2}`;
const INTERNET = `203.0.113.${SLOT + 1}`;

const SERVER = `
const server = require('node:net').createServer((c) => c.on('error', () => {}).end('next door'));
server.listen(0, '0.0.0.0', () => console.log(server.address().port));
`;

export class NextDoor {
  readonly #server: ChildProcess;
  readonly port: number;

  private constructor(server: ChildProcess, port: number) {
    this.#server = server;
    this.port = port;
  }

  static async create(): Promise<NextDoor> {
    await remove();
    await ip('netns', 'add', NAMESPACE);
    await ip('link', 'add', CABLE, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', NAMESPACE);
    await ip('addr', 'add', `${MACHINE}/30`, 'dev', CABLE);
    await ip('link', 'set', CABLE, 'up');
    for (const address of [`${NEIGHBOUR}/30`, `${INTERNET}/32`]) {
      await ip('-n', NAMESPACE, 'addr', 'add', address, 'dev', 'eth0');
    }
    for (const name of ['eth0', 'lo']) await ip('-n', NAMESPACE, 'link', 'set', name, 'up');
    await ip('-n', NAMESPACE, 'route', 'add', 'default', 'via', MACHINE);
    await ip('route', 'add', `${INTERNET}/32`, 'via', NEIGHBOUR);
    const argv = [`--net=/run/netns/${NAMESPACE}`, '--', process.execPath, '-e', SERVER];
    const server = spawn('nsenter', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = (await once(server.stdout, 'data')) as [Buffer];
    return new NextDoor(server, Number(line));
  }

  /** This machine's address there. */
  readonly machine = MACHINE;
  /** In the local network. */
  readonly address = NEIGHBOUR;
  /** The same host by an address that is not private, as if on the internet. */
  readonly internetAddress = INTERNET;

  /** Whether somebody there gets a connection to an address behind this machine. */
  async reaches(host: string, port: number): Promise<boolean> {
    const ran = await run([
      'ip',
      'netns',
      'exec',
      NAMESPACE,
      // For all three programs that are started, on a machine that may be busy.
      'timeout',
      '3',
      'bash',
      '-c',
      `echo >/dev/tcp/${host}/${port}`,
    ]);
    return ran.code === 0;
  }

  async remove(): Promise<void> {
    this.#server.kill('SIGKILL');
    await remove();
  }
}

/** With the cable go its addresses and the route. */
async function remove(): Promise<void> {
  await run(['ip', 'link', 'del', CABLE]);
  await run(['ip', 'netns', 'del', NAMESPACE]);
}

async function ip(...args: string[]): Promise<void> {
  const ran = await run(['ip', ...args]);
  if (ran.code !== 0) throw new Error(`ip ${args.join(' ')}: ${ran.stderr}`);
}
