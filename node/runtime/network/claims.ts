// Which daemon of this machine has which subnet, in files that last until the next boot: claims one, and finds those
// whose owner has gone for good. Changes nothing of the network itself.

import { createHash } from 'node:crypto';
import { access, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { processInfo } from '../process-tree.ts';
import { candidateSubnets, type NetworkKey } from './commands.ts';
import { type Network, overlap } from './policy.ts';

export const CLAIMS_FOLDER = '/run/peer/networks';

export type Claim = { key: NetworkKey; subnet: Network; dataDir: string; pid: number; startTicks: string };

/**
 * The claim that an earlier daemon on the data directory left, or a new one that overlaps neither another nor a
 * network that the machine has a route to.
 */
export async function claimSubnet(options: {
  dataDir: string;
  routes: readonly Network[];
  folder?: string;
}): Promise<Claim> {
  const folder = options.folder ?? CLAIMS_FOLDER;
  await mkdir(folder, { recursive: true, mode: 0o755 });
  const claims = await listClaims(folder);
  const self = await processInfo(process.pid);
  const owner = { dataDir: options.dataDir, pid: process.pid, startTicks: self?.startTicks ?? '' };
  const earlier = claims.find((claim) => claim.dataDir === options.dataDir);
  if (earlier !== undefined) {
    const claim = { ...earlier, ...owner };
    await writeFile(pathOf(folder, claim.key), JSON.stringify(claim), { mode: 0o600 });
    return claim;
  }
  const taken = [...claims.map((claim) => claim.subnet), ...options.routes];
  for (const { key, subnet } of candidateSubnets(seedOf(options.dataDir))) {
    if (taken.some((network) => overlap(network, subnet))) continue;
    const claim = { key, subnet, ...owner };
    try {
      await writeFile(pathOf(folder, key), JSON.stringify(claim), { mode: 0o600, flag: 'wx' });
      return claim;
    } catch (error) {
      // Another daemon was quicker.
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
  throw new Error('every private subnet is in use, or the machine has a route to it');
}

export async function releaseClaim(key: NetworkKey, folder: string = CLAIMS_FOLDER): Promise<void> {
  await rm(pathOf(folder, key), { force: true });
}

/** Claims of daemons that neither run nor will come back, because their data directory has gone. */
export async function abandonedClaims(folder: string = CLAIMS_FOLDER): Promise<Claim[]> {
  const abandoned: Claim[] = [];
  for (const claim of await listClaims(folder)) {
    if (await exists(claim.dataDir)) continue;
    const now = await processInfo(claim.pid);
    if (now?.startTicks !== claim.startTicks) abandoned.push(claim);
  }
  return abandoned;
}

export async function listClaims(folder: string = CLAIMS_FOLDER): Promise<Claim[]> {
  const names = await readdir(folder).catch(() => []);
  const claims = await Promise.all(names.map((name) => readClaim(join(folder, name))));
  return claims.filter((claim) => claim !== undefined);
}

async function readClaim(path: string): Promise<Claim | undefined> {
  try {
    const claim = JSON.parse(await readFile(path, 'utf8')) as Claim;
    const isWhole =
      /^[0-9a-f]{4}$/.test(claim.key) && /^[\d.]+\/\d+$/.test(claim.subnet) && claim.dataDir.startsWith('/');
    return isWhole ? claim : undefined;
  } catch {
    // Half written: its owner is about to finish it, and `wx` keeps everybody else from it.
    return undefined;
  }
}

/** Spreads daemons of one machine, and of neighbouring ones, over the range. */
export function seedOf(dataDir: string): number {
  return createHash('sha256').update(dataDir).digest().readUInt32BE(0);
}

const pathOf = (folder: string, key: NetworkKey): string => join(folder, `${key}.json`);

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
