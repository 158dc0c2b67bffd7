// The sample app that keeps notes in services (test/apps/data-node), as the tests push it and talk to it: with the
// client libraries that this repository has for its own tests, so that staging asks no registry.

import { cp, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { ServiceShape } from '../../node/api/data-shapes.ts';
import { type LocalCluster, type LocalNode, type Response, ROOT, waitFor } from '../../scripts/local-cluster.ts';

const LIBRARIES = ['pg', 'mysql2', 'ioredis', 'amqplib'];
const PACKAGES = join(ROOT, 'node_modules');
/** Clients wait a while before they try again; a service that is down for them is so for a few seconds. */
export const RECONNECT_DEADLINE_MS = 60_000;
const REQUEST_TIMEOUT_MS = 40_000;
const HOLD_TIMEOUT_MS = 120_000;

/** Makes the folder to push. */
export async function dataAppFolder(into: string): Promise<string> {
  await cp(join(ROOT, 'test', 'apps', 'data-node'), into, { recursive: true });
  await mkdir(join(into, 'node_modules'));
  for (const name of await closureOf(LIBRARIES)) {
    await cp(join(PACKAGES, name), join(into, 'node_modules', name), { recursive: true });
  }
  return into;
}

/** The packages and all that they require. */
async function closureOf(names: readonly string[]): Promise<Set<string>> {
  const found = new Set<string>();
  const left = [...names];
  for (let name = left.pop(); name !== undefined; name = left.pop()) {
    if (found.has(name)) continue;
    found.add(name);
    const manifest = JSON.parse(await readFile(join(PACKAGES, name, 'package.json'), 'utf8'));
    left.push(...Object.keys((manifest as { dependencies?: Record<string, string> }).dependencies ?? {}));
  }
  return found;
}

/** The app of that name, asked through a node's router. */
export class DataApp {
  readonly name: string;
  readonly #cluster: LocalCluster;

  constructor(cluster: LocalCluster, name: string) {
    this.#cluster = cluster;
    this.name = name;
  }

  async write(through: LocalNode, service: string, key: string, value: string): Promise<void> {
    const read = await this.#expected(through, `/notes/${service}/${key}?value=${encodeURIComponent(value)}`);
    expect(`${service}: ${read}`).toBe(`${service}: ${value}`);
  }

  /** `by`: a variable that has the address, in the place of VCAP_SERVICES. */
  read(through: LocalNode, service: string, key: string, by?: string): Promise<string> {
    return this.#expected(through, `/notes/${service}/${key}${by === undefined ? '' : `?by=${by}`}`);
  }

  /** Reads until the note is there, as clients that have lost their connections find back by themselves. */
  async readAgain(through: LocalNode, service: string, key: string, value: string): Promise<void> {
    await waitFor(`${this.name} to read ${value} in ${service}`, RECONNECT_DEADLINE_MS, async () => {
      expect(await this.read(through, service, key)).toBe(value);
      return true;
    });
  }

  /**
   * Opens a connection with other credentials and returns when it is open; `ended` settles when it is not any more.
   */
  async hold(through: LocalNode, kind: string, uri: string): Promise<{ ended: Promise<string> }> {
    const path = `/hold/${kind}?uri=${encodeURIComponent(uri)}`;
    const ended = this.#ask(through, path, HOLD_TIMEOUT_MS).then(({ status, body }) => `${status} ${body}`);
    // Awaited after what ends it.
    ended.catch(() => {});
    await waitFor(`${this.name} to hold a connection to ${kind}`, REQUEST_TIMEOUT_MS, async () => {
      const held: string[] = JSON.parse(await this.#expected(through, '/held'));
      return held.includes(new URL(uri).username);
    });
    return { ended };
  }

  /** How a connection with other credentials fares: `200 connected`, or `502` and the reason. */
  async attempt(through: LocalNode, kind: string, uri: string): Promise<string> {
    const { status, body } = await this.#ask(through, `/try/${kind}?uri=${encodeURIComponent(uri)}`);
    return `${status} ${body}`;
  }

  async names(through: LocalNode): Promise<{ variables: string[]; services: string[] }> {
    return JSON.parse(await this.#expected(through, '/names'));
  }

  /** What the app's first instance finds as the address of the service. */
  async uriOf(through: LocalNode, service: string): Promise<string> {
    const script = `for (const all of Object.values(JSON.parse(process.env.VCAP_SERVICES)))
      for (const one of all) if (one.name === '${service}') console.log(one.credentials.uri)`;
    return (await this.inside(through, script)).trim();
  }

  /**
   * What becomes of a connection out of an instance, the app's first unless it is said: `connected`, or the code of
   * the error.
   */
  async reach(through: LocalNode, address: string, port: number, from = `${this.name}/0`): Promise<string> {
    const script = `const socket = require('node:net').connect(${port}, '${address}');
      const end = (what) => { console.log(what); process.exit(); };
      socket.on('connect', () => end('connected')).on('error', (error) => end(error.code));
      socket.setTimeout(10_000, () => end('no answer'));`;
    return (await this.inside(through, script, from)).trim();
  }

  /** What a program within an instance prints, the app's first unless it is said. */
  async inside(through: LocalNode, script: string, from = `${this.name}/0`): Promise<string> {
    const ran = await this.#cluster.peer(through, ['exec', from, '--', 'node', '-e', script]);
    expect(ran).toMatchObject({ code: 0 });
    return ran.stdout;
  }

  async #expected(through: LocalNode, path: string): Promise<string> {
    const { status, body } = await this.#ask(through, path);
    if (status !== 200) throw new Error(`${this.name} ${path}: ${status} ${body}`);
    return body;
  }

  #ask(through: LocalNode, path: string, timeoutMs = REQUEST_TIMEOUT_MS): Promise<Response> {
    return this.#cluster.get(through, `${this.name}.localhost`, path, timeoutMs);
  }
}

export const serviceOf = (cluster: LocalCluster, node: LocalNode, service: string): Promise<ServiceShape> =>
  cluster.read(node, `/v1/services/${service}`);
