// volumes: what an app's volume costs. How many fdatasync in a second it takes, beside a directory of the host; a
// snapshot of 1 GiB of which 1 % has changed: what other nodes fetch of it, beside the first one, and how long the app
// is held still; a move of it to another node: for how long the app does not run. `--mib N` for less than 1,024.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LifeResultShape, SnapshotShape, VolumeShape } from '../../node/api/data-shapes.ts';
import { LocalCluster, type LocalNode, waitFor } from '../local-cluster.ts';
import { fetchedBytes } from './data/fetched.ts';
import { output } from './data/inside.ts';
import { type Bench, figure, median } from './figure.ts';

const NODES = 3;
const APP = 'keeper';
const HOST = `${APP}.localhost`;
const MIB = 1024;
const SYNC_ROUNDS = 5;
const SYNC_SECONDS = 2;
const TIMEOUT_MS = 600_000;
/** Of the app's ticks: what is longer was not its own doing. */
const TICK_MS = 20;

/** Writes the time to its volume every 20 ms, and says the longest gap since a time (/gap?since=MS). */
const SERVER = `
const { appendFileSync, readFileSync } = require('node:fs');
const tick = () => appendFileSync('/data/ticks', Date.now() + '\\n');
setInterval(tick, ${TICK_MS});
require('node:http').createServer((request, response) => {
  const since = Number(new URL(request.url, 'http://x').searchParams.get('since'));
  const ticks = readFileSync('/data/ticks', 'utf8').split('\\n').map(Number).filter((at) => at >= since);
  const gaps = ticks.slice(1).map((at, i) => at - ticks[i]);
  response.end(JSON.stringify({ ticks: ticks.length, longestMs: Math.max(0, ...gaps) }));
}).listen(process.env.PORT);
`;
/** sync.js FILE SECONDS: prints how many blocks of 4 KiB it wrote and synced in a second. */
const SYNC = `
const { fdatasyncSync, openSync, writeSync } = require('node:fs');
const [file, seconds] = process.argv.slice(2);
const [fd, block, end] = [openSync(file, 'w'), Buffer.alloc(4096, 1), performance.now() + seconds * 1000];
let count = 0;
for (; performance.now() < end; count++) { writeSync(fd, block, 0, 4096, (count % 1024) * 4096); fdatasyncSync(fd); }
console.log(count / seconds);
`;

type Gap = { ticks: number; longestMs: number };

const volumes: Bench = async (args, say) => {
  const mib = args[0] === '--mib' ? Number(args[1]) : MIB;
  const cluster = await LocalCluster.start(NODES, ['--memory', '1G']);
  try {
    const [node] = cluster.nodes as [LocalNode];
    const peer = <T>(...command: string[]): Promise<T> => cluster.json<T>(node, command, { timeoutMs: TIMEOUT_MS });
    const inApp = async (script: string): Promise<string> => {
      const ran = await cluster.peer(node, ['exec', `${APP}/0`, '--', 'bash', '-c', script], { timeoutMs: TIMEOUT_MS });
      if (ran.code !== 0) throw new Error(`${script}: ${ran.stderr}`);
      return ran.stdout;
    };
    const gapSince = async (sinceMs: number): Promise<Gap> => {
      const { body } = await cluster.get(node, HOST, `/gap?since=${sinceMs}`);
      return JSON.parse(body) as Gap;
    };
    await push(cluster, node, mib);
    const syncs = await syncRates(cluster, inApp);
    const ratio = median(syncs.volume) / median(syncs.host);
    say(`${Math.round(median(syncs.volume))} fdatasync in a second of ${Math.round(median(syncs.host))} on the host`);

    await inApp(`head -c ${mib}M /dev/urandom >/data/big && sync /data/big`);
    const snapshot = async (): Promise<{ sent: number; frozenMs: number; gapMs: number }> => {
      const before = await fetchedBytes(cluster);
      const sinceMs = Date.now();
      const { frozenMs } = await peer<SnapshotShape>('volume', 'snapshot', APP);
      const sent = (await fetchedBytes(cluster)) - before;
      const gap = await gapSince(sinceMs);
      say(`snapshot: ${sent} bytes fetched by others, held still for ${frozenMs} ms, longest gap ${gap.longestMs} ms`);
      return { sent, frozenMs, gapMs: gap.longestMs };
    };
    const first = await snapshot();
    // Ten places of a thousandth each.
    const step = Math.floor(mib / 10);
    const part = Math.floor((mib * 1024) / 1000);
    const write = `dd if=/dev/urandom of=/data/big bs=1K count=${part} conv=notrunc status=none`;
    await inApp(
      `for at in {0..9}; do ${write} oflag=seek_bytes seek=$((at * ${step} * 1048576)); done; sync /data/big`,
    );
    const second = await snapshot();

    const { node: from } = (await peer<VolumeShape[]>('volumes')).find(({ owner }) => owner === APP)!;
    const to = cluster.nodes.find(({ name }) => name !== from)!.name;
    const movedMs = Date.now();
    await peer<LifeResultShape>('volume', 'move', APP, '--to', to);
    const tookMs = Date.now() - movedMs;
    let stopped: Gap = { ticks: 0, longestMs: Number.NaN };
    await waitFor('the app to answer where it is now', TIMEOUT_MS, async () => {
      stopped = await gapSince(movedMs).catch(() => stopped);
      return stopped.ticks > 10;
    });
    say(`move: ${tookMs} ms, of which the app stood for ${stopped.longestMs} ms`);
    return [
      figure('fdatasync of a directory of the host', median(syncs.host), 'per second', { samples: syncs.host }),
      figure('fdatasync of the volume, inside the app', median(syncs.volume), 'per second', { samples: syncs.volume }),
      figure('fdatasync of the volume over the host, at least', ratio, 'times', { atLeast: 0.9 }),
      figure('first snapshot, fetched by other nodes', first.sent, 'bytes'),
      figure('snapshot with 1 % changed, of the first one', (100 * second.sent) / first.sent, '%', { atMost: 3 }),
      figure('first snapshot, held still', first.frozenMs, 'ms'),
      figure('snapshot with 1 % changed, held still', second.frozenMs, 'ms', { atMost: 500 }),
      figure('snapshot with 1 % changed, longest gap that the app saw', second.gapMs, 'ms', { atMost: 500 }),
      figure('move, from the command to its end', tookMs, 'ms'),
      figure('move, longest gap that the app saw', stopped.longestMs, 'ms', { atMost: 3_000 }),
    ];
  } finally {
    await cluster.stop();
  }
};
export default volumes;

async function push(cluster: LocalCluster, node: LocalNode, mib: number): Promise<void> {
  const folder = join(cluster.folder, 'app');
  await mkdir(folder);
  await writeFile(
    join(folder, 'package.json'),
    `${JSON.stringify({ name: APP, scripts: { start: 'node server.js' } })}\n`,
  );
  await writeFile(join(folder, 'server.js'), SERVER);
  await writeFile(join(folder, 'sync.js'), SYNC);
  const args = ['push', folder, '--name', APP, '--memory', '256M', '--volume', `/data:${mib + 512}M`];
  await cluster.json(node, args, { timeoutMs: TIMEOUT_MS });
}

/** In turn: inside the app, and in a directory beside it. */
async function syncRates(
  cluster: LocalCluster,
  inApp: (script: string) => Promise<string>,
): Promise<{ volume: number[]; host: number[] }> {
  const rates: { volume: number[]; host: number[] } = { volume: [], host: [] };
  const [script, file] = [join(cluster.folder, 'app', 'sync.js'), join(cluster.folder, 'synced')];
  for (let round = 0; round < SYNC_ROUNDS; round++) {
    rates.host.push(Number(await output([process.execPath, script, file, String(SYNC_SECONDS)])));
    rates.volume.push(Number(await inApp(`node sync.js /data/synced ${SYNC_SECONDS}`)));
  }
  return rates;
}
