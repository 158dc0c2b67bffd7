// A node under attack: real daemon, an app that does what an attacker tells it, and a neighbour that must not notice.
// What the attacker could know of them at best, and how to see that the node is well.

import { readdir, readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { InstanceShape, StatusShape } from '../../node/api/shapes.ts';
import { LocalCluster, type LocalNode, ROOT, run, splitAddress, waitFor } from '../../scripts/local-cluster.ts';
import { processTable } from '../../scripts/processes.ts';
import type { Place } from './attacks.ts';
import { NextDoor } from './next-door.ts';
import { appOf, nodesOf, open } from './observe.ts';
import { postToApp } from './requests.ts';

/** Longest answer of a neighbour while somebody else misbehaves; a machine of its own would need milliseconds. */
const ANSWER_MS_MAX = 5_000;
/** Until another instance has taken the place of one that ended. */
const BACK_DEADLINE_MS = 25_000;
export const HOSTILE = 'hostile.localhost';
const NEIGHBOUR = 'neighbour.localhost';
export const MEMORY_MIB = 256;
export const DISK_MIB = 64;

export const sampleApp = (name: string): string => join(ROOT, 'test', 'apps', name);

/** Who else is on the machine and next door, and has nothing to do with any node. */
export class Bystanders {
  readonly nextDoor: NextDoor;
  /** Listens at every address of this machine. */
  readonly service: Server;
  /** Listens where only this machine's own network leads. */
  readonly abstract: Server;
  readonly abstractName = `peer-bystander-${process.pid}`;

  private constructor(nextDoor: NextDoor) {
    this.nextDoor = nextDoor;
    [this.service, this.abstract] = [0, 0].map(() =>
      createServer((socket) => socket.on('error', () => {}).end('hello')),
    ) as [Server, Server];
  }

  static async create(): Promise<Bystanders> {
    const made = new Bystanders(await NextDoor.create());
    await new Promise<void>((resolve) => made.service.listen(0, '0.0.0.0', resolve));
    await new Promise<void>((resolve) => made.abstract.listen(`\0${made.abstractName}`, resolve));
    return made;
  }

  get servicePort(): number {
    return (this.service.address() as { port: number }).port;
  }

  async remove(): Promise<void> {
    this.service.close();
    this.abstract.close();
    await this.nextDoor.remove();
  }
}

export class UnderAttack {
  readonly cluster: LocalCluster;
  readonly node: LocalNode;
  readonly #runtime: string;
  readonly #bystanders: Bystanders;
  #neighbour!: InstanceShape;
  #place: Promise<Place> | undefined;

  private constructor(cluster: LocalCluster, node: LocalNode, runtime: string, bystanders: Bystanders) {
    this.cluster = cluster;
    this.node = node;
    this.#runtime = runtime;
    this.#bystanders = bystanders;
  }

  /** At every address of the machine, so that the firewall alone keeps apps from it. */
  static async start(runtime: string, bystanders: Bystanders): Promise<UnderAttack> {
    const cluster = await LocalCluster.create();
    try {
      const node = await cluster.startNode({ name: 'node', host: '0.0.0.0', args: ['--runtime', runtime] });
      const made = new UnderAttack(cluster, node, runtime, bystanders);
      const limits = ['--memory', `${MEMORY_MIB}M`, '--disk', `${DISK_MIB}M`];
      await cluster.json(node, [
        'push',
        sampleApp('hello-node'),
        '--name',
        'neighbour',
        '--env',
        `SECRET=${made.secret}`,
      ]);
      await cluster.json(node, ['push', sampleApp('hostile'), ...limits]);
      made.#neighbour = await made.instanceOf('neighbour');
      return made;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  /** In the environment of the neighbour, and nowhere else. */
  get secret(): string {
    return `the-neighbours-secret-${this.#runtime}`;
  }

  /** Runs a shell script inside the hostile instance. */
  async attack(script: string): Promise<{ code: number | string; output: string }> {
    const { status, body } = await postToApp(this.node, HOSTILE, '/run', script);
    expect(status, body).toBe(200);
    return JSON.parse(body);
  }

  /** Runs it in a session of its own, and does not wait for it. The app may be gone before it has answered. */
  async attackMeanwhile(script: string, host = HOSTILE): Promise<void> {
    expect([200, 502]).toContain((await postToApp(this.node, host, '/detach', script)).status);
  }

  async instanceOf(app: string): Promise<InstanceShape> {
    return (await appOf(this.cluster, this.node, app)).instances[0]!;
  }

  async neighbourAnswers(): Promise<boolean> {
    return (await this.cluster.get(this.node, NEIGHBOUR, '/', ANSWER_MS_MAX)).status === 200;
  }

  /** Waits until another instance has taken the place of this one. */
  async hostileIsBack(before: InstanceShape): Promise<void> {
    await waitFor('another hostile instance to be ready', BACK_DEADLINE_MS, async () => {
      const now = await this.instanceOf('hostile');
      return now !== undefined && now.id !== before.id && now.state === 'ready';
    });
  }

  /** The neighbour never noticed, and the daemon is the one that was started, and content. */
  async isWell(): Promise<void> {
    const { cluster, node } = this;
    await open(cluster, node, NEIGHBOUR);
    expect(await this.instanceOf('neighbour')).toMatchObject({ id: this.#neighbour.id, state: 'ready', restarts: 0 });
    expect(await cluster.json<StatusShape>(node, ['status'])).toMatchObject({
      node: { pid: node.pid },
      members: { alive: 1, suspect: 0, dead: 0 },
      conflicts: [],
      problems: [],
    });
    const expected = { status: 'alive', runtimes: [this.#runtime], draining: false };
    expect(await nodesOf(cluster, node)).toMatchObject([expected]);
  }

  /** The same whenever it is asked: the neighbour stays. */
  place(): Promise<Place> {
    this.#place ??= this.#look();
    return this.#place;
  }

  async #look(): Promise<Place> {
    const { node, cluster } = this;
    const files = await readdir(node.dataDir);
    expect(files).toEqual(expect.arrayContaining(['identity.key', 'cluster.json', 'node.json']));
    const pid = await this.neighbourPid();
    const { nextDoor, servicePort, abstractName } = this.#bystanders;
    const own = ['127.0.0.1', await gatewayOf(pid), nextDoor.machine];
    const at = (port: number): string[] => own.map((host) => `${host}/${port}`);
    const portOf = (address: string): number => splitAddress(address)[1];
    return {
      dataDir: node.dataDir,
      files,
      configFile: join(cluster.folder, 'config', 'peer', 'config.json'),
      daemonPid: node.pid,
      neighbour: { pid, instance: this.#neighbour.id, address: await addressOf(pid) },
      api: at(portOf(node.api)),
      link: at(portOf(node.link)),
      gossip: at(portOf(node.listen)),
      router: at(portOf(node.http)).slice(1),
      service: at(servicePort),
      abstractSocket: abstractName,
      nextDoor: `${nextDoor.address}/${nextDoor.port}`,
      internet: `${nextDoor.internetAddress}/${nextDoor.port}`,
    };
  }

  /** By its environment, which nobody else has; as this machine counts. */
  async neighbourPid(): Promise<number> {
    for (const { pid } of await processTable()) {
      const environment = await environmentOf(pid).catch(() => '');
      if (environment.includes(`\0SECRET=${this.secret}\0`)) return pid;
    }
    throw new Error('the neighbour does not run');
  }
}

/** Begins and ends with NUL, as every variable does. */
const environmentOf = async (pid: number): Promise<string> => `\0${await readFile(`/proc/${pid}/environ`, 'utf8')}\0`;

/** Where a process listens, on the network that it has to itself. */
async function addressOf(pid: number): Promise<string> {
  const addresses = await ipOf(pid, '-o', '-4', 'addr', 'show', 'scope', 'global');
  return `${/inet ([\d.]+)/.exec(addresses)![1]}/${/\0PORT=(\d+)\0/.exec(await environmentOf(pid))![1]}`;
}

/** The machine's address on that network. */
const gatewayOf = async (pid: number): Promise<string> =>
  /via ([\d.]+)/.exec(await ipOf(pid, 'route', 'show', 'default'))![1]!;

const ipOf = async (pid: number, ...args: string[]): Promise<string> =>
  (await run(['nsenter', '-t', String(pid), '-n', 'ip', ...args])).stdout;
