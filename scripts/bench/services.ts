// services: what a service costs over the engine alone, with the engines' own benchmark programs. On the same node,
// from an app's own network through the service's address, beside the same run from the machine straight at the
// engine; from another node the same, beside the engine over the same cable in clear, and bulk beside plain TLS; how
// long it takes from nothing to credentials, beside the engine alone; and the memory of what stands around each
// engine. `--part near`, `far`, `bulk`, `provision` for one alone.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BindingShape, ServiceShape } from '../../node/api/data-shapes.ts';
import { Lan } from '../lan.ts';
import { inNamespace, LocalCluster, type LocalNode, waitFor } from '../local-cluster.ts';
import { bareStart } from './data/bare.ts';
import { clearWay } from './data/clear-way.ts';
import { type Credentials, credentialsIn, fillPostgres, postgresRate, redisRate, type Way } from './data/clients.ts';
import { addressOf, ENGINES, environmentOf, inNetworkOf, memoryAround, processOn } from './data/inside.ts';
import { TlsRedis } from './data/tls-redis.ts';
import { type Bench, type Figure, figure, median } from './figure.ts';

const KINDS = ['redis', 'postgres', 'mysql', 'rabbitmq'] as const;
type Kind = (typeof KINDS)[number];
/** From the command to credentials that work. */
const PROVISION_MS: Readonly<Record<Kind, number>> = { redis: 2_000, postgres: 8_000, mysql: 12_000, rabbitmq: 20_000 };
const AROUND_BYTES_MAX = 3 * 1024 ** 2;
const START_TIMEOUT_MS = 240_000;
const PARTS = ['provision', 'near', 'far', 'bulk'];

/** Of both sides in turn; the median of their ratios, as a machine's speed changes from one minute to the next. */
const ROUNDS = 5;
const PG_SECONDS = 8;
const PG_SCALE = 10;
const REDIS_REQUESTS = { plain: 150_000, pipelined: 600_000, bulk: 1_200 };
const FAR_REQUESTS = { plain: 40_000, pipelined: 200_000, bulk: 600 };
const APP = 'client';

const services: Bench = async (args, say) => {
  const parts = args[0] === '--part' ? args.slice(1) : PARTS;
  const lan = await Lan.create(['a', 'b']);
  const cluster = await LocalCluster.create();
  try {
    await cluster.startOn(lan, ['a', 'b'], ['--memory', '3G']);
    const [a, b] = cluster.nodes as [LocalNode, LocalNode];
    await pushClients(cluster, a);
    const figures: Figure[] = [];
    const kinds = parts.includes('provision') ? KINDS : (['redis', 'postgres'] as const);
    for (const kind of kinds) figures.push(...(await provision(cluster, a, kind, say)));
    const far = { lan, cluster, a, b, say };
    if (parts.includes('near')) figures.push(...(await compare(far, 'near')));
    if (parts.includes('far')) figures.push(...(await compare(far, 'far')));
    if (parts.includes('bulk')) figures.push(await bulk(far));
    return figures;
  } finally {
    await cluster.stop();
    await lan.remove();
  }
};
export default services;

type Hosts = { lan: Lan; cluster: LocalCluster; a: LocalNode; b: LocalNode; say: (text: string) => void };

/** An app that does nothing, with an instance on either host: from its networks services are asked. */
async function pushClients(cluster: LocalCluster, node: LocalNode): Promise<void> {
  const folder = join(cluster.folder, 'app');
  await mkdir(folder);
  await writeFile(
    join(folder, 'package.json'),
    `${JSON.stringify({ name: APP, scripts: { start: 'node wait.js' } })}\n`,
  );
  await writeFile(join(folder, 'wait.js'), 'setInterval(() => {}, 60_000);\n');
  const args = ['push', folder, '--name', APP, '--instances', '2', '--memory', '128M', '--health', 'process'];
  await cluster.json(node, [...args, '--no-route'], { timeoutMs: START_TIMEOUT_MS });
}

/** Makes the service on a and binds the app to it: how long that takes, and what memory stands around the engine. */
async function provision(cluster: LocalCluster, a: LocalNode, kind: Kind, say: Hosts['say']): Promise<Figure[]> {
  const startMs = performance.now();
  const options = { timeoutMs: START_TIMEOUT_MS };
  await cluster.json(a, ['service', 'create', kind, kind, '--node', 'a'], options);
  await cluster.json(a, ['bind', kind, APP], options);
  await waitFor(`the access to ${kind} to be granted`, START_TIMEOUT_MS, async () => {
    const { bindings } = await cluster.read<ServiceShape>(a, `/v1/services/${kind}`);
    return bindings.some(({ granted }: BindingShape) => granted === true);
  });
  const tookMs = performance.now() - startMs;
  const aloneMs = await bareStart(kind);
  const { own, around } = await memoryAround(a.pid, await processOn(cluster, a, ENGINES[kind]!));
  say(`${kind}: ${Math.round(tookMs)} ms to credentials, the engine alone ${Math.round(aloneMs)} ms`);
  return [
    figure(`${kind}: from the command to credentials`, tookMs, 'ms', { atMost: PROVISION_MS[kind] }),
    figure(`${kind}: the engine alone, from nothing to its first answer`, aloneMs, 'ms'),
    figure(`${kind}: to credentials over the engine alone`, tookMs / aloneMs, 'times'),
    figure(`${kind}: memory of the engine, idle`, own / 1024 ** 2, 'MiB'),
    figure(`${kind}: memory of what stands around it`, around / 1024 ** 2, 'MiB', {
      atMost: AROUND_BYTES_MAX / 1024 ** 2,
    }),
  ];
}

/** Rates through the service's address over those straight at the engine, in turn. */
async function compare({ lan, cluster, a, b, say }: Hosts, where: 'near' | 'far'): Promise<Figure[]> {
  await cluster.json(a, ['restart', APP], { timeoutMs: START_TIMEOUT_MS });
  const client = await clientOn(cluster, where === 'near' ? a : b);
  const wayTo = async (kind: Kind): Promise<{ direct: Way; through: Way; credentials: Credentials }> => {
    const { address } = await cluster.read<ServiceShape>(a, `/v1/services/${kind}`);
    const engine = await addressOf(await processOn(cluster, a, ENGINES[kind]!));
    const near: Way = { name: 'direct', host: engine, within: (command) => inNamespace(lan.namespaceOf('a'), command) };
    return {
      direct: where === 'near' ? near : await clearWay(lan, 'b', 'a', engine),
      through: { name: where, host: address!, within: (command) => inNetworkOf(client.pid, command) },
      credentials: credentialsIn(client.env[kind === 'redis' ? 'REDIS_URL' : 'DATABASE_URL']!),
    };
  };
  const postgres = await wayTo('postgres');
  const redis = await wayTo('redis');
  await fillPostgres(postgres.direct, postgres.credentials, PG_SCALE);
  const requests = where === 'near' ? REDIS_REQUESTS : FAR_REQUESTS;
  const bounds =
    where === 'near' ? { write: 0.95, select: 0.95, plain: 0.95, pipelined: 0.95 } : { write: 0.5, plain: 0.2 };
  const works = {
    write: (way: Way) => postgresRate(way, postgres.credentials, 'write', PG_SECONDS),
    select: (way: Way) => postgresRate(way, postgres.credentials, 'select', PG_SECONDS),
    plain: (way: Way) => redisRate(way, 'plain', requests.plain, { credentials: redis.credentials }),
    pipelined: (way: Way) => redisRate(way, 'pipelined', requests.pipelined, { credentials: redis.credentials }),
  };
  const figures: Figure[] = [];
  for (const [work, rate] of Object.entries(works)) {
    const { direct, through } = work === 'write' || work === 'select' ? postgres : redis;
    const rates = await inTurn({ direct: () => rate(direct), through: () => rate(through) });
    const name = `${where}, ${work === 'write' || work === 'select' ? `pgbench ${work}` : `redis ${work}`}`;
    say(`${name}: ${Math.round(median(rates.through))} of ${Math.round(median(rates.direct))} in a second`);
    figures.push(
      figure(`${name}: straight at the engine`, median(rates.direct), 'per second', { samples: rates.direct }),
      figure(`${name}: through the service's address`, median(rates.through), 'per second', { samples: rates.through }),
      figure(`${name}: through over straight, at least`, median(ratiosOf(rates)), 'times', {
        samples: ratiosOf(rates),
        ...(work in bounds && { atLeast: bounds[work as keyof typeof bounds] }),
      }),
    );
  }
  return figures;
}

/** Values of 1 MiB from the other node, beside the same over plain TLS between the hosts. */
async function bulk({ lan, cluster, a, b, say }: Hosts): Promise<Figure> {
  const client = await clientOn(cluster, b);
  const { address } = await cluster.read<ServiceShape>(a, '/v1/services/redis');
  const credentials = credentialsIn(client.env.REDIS_URL!);
  const through: Way = { name: 'far', host: address!, within: (command) => inNetworkOf(client.pid, command) };
  const host = lan.addressOf('a');
  const plain: Way = { name: 'tls', host, within: (command) => inNamespace(lan.namespaceOf('b'), command) };
  const server = await TlsRedis.start(join(cluster.folder, 'tls'), {
    host,
    within: (command) => inNamespace(lan.namespaceOf('a'), command),
    from: plain.within,
  });
  try {
    const rates = await inTurn({
      direct: () => redisRate(plain, 'bulk', FAR_REQUESTS.bulk, { tls: server }),
      through: () => redisRate(through, 'bulk', FAR_REQUESTS.bulk, { credentials }),
    });
    say(`far, bulk: ${Math.round(median(rates.through))} of ${Math.round(median(rates.direct))} MiB in a second`);
    return figure('far, bulk: MiB in a second over plain TLS, at least', median(ratiosOf(rates)), 'times', {
      samples: ratiosOf(rates),
      atLeast: 0.5,
    });
  } finally {
    await server.stop();
  }
}

type Rates = Record<'direct' | 'through', number[]>;

const ratiosOf = ({ direct, through }: Rates): number[] => through.map((rate, round) => rate / direct[round]!);

async function inTurn(sides: Record<'direct' | 'through', () => Promise<number>>): Promise<Rates> {
  const rates: Rates = { direct: [], through: [] };
  for (let round = 0; round < ROUNDS; round++) {
    for (const side of ['direct', 'through'] as const) rates[side].push(await sides[side]());
  }
  return rates;
}

/** The app's process on a node, and what it was given. */
async function clientOn(cluster: LocalCluster, node: LocalNode): Promise<{ pid: number; env: Record<string, string> }> {
  let pid = 0;
  await waitFor(`the client on ${node.name}`, START_TIMEOUT_MS, async () => {
    pid = await processOn(cluster, node, /^\S*node wait\.js/).catch(() => 0);
    return pid !== 0 && (await environmentOf(pid)).REDIS_URL !== undefined;
  });
  return { pid, env: await environmentOf(pid) };
}
