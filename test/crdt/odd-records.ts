// Documents as an admitted node could write them that keeps to no rule: well-shaped records with odd values, and any
// value of Automerge at any path. From a seed; what comes out are changes that every other node lets in and merges.

import * as A from '@automerge/automerge';
import type { DesiredDocument } from '../../crdt/document.ts';
import { plainCopy } from '../../crdt/draft.ts';
import type { Prng } from '../sim/prng.ts';
import {
  addRelease,
  admitNode,
  bind,
  createApp,
  createService,
  digest,
  documentWith,
  newVolume,
  node,
  tokenHash,
} from './fixtures.ts';

/** Three nodes, two apps with releases and routes, a person and an invite, volumes, services and a binding. */
export function soundDocument(): DesiredDocument {
  return documentWith([
    admitNode(1),
    admitNode(2),
    admitNode(3),
    createApp(1, { name: 'shop', routes: ['shop.localhost', 'shop.localhost/api'], env: { A: '1' } }),
    addRelease(1, 1, { web: 'node server.js', worker: 'node worker.js' }),
    addRelease(1, 2),
    createApp(2, { name: 'blog', routes: ['blog.localhost'] }),
    addRelease(2, 3),
    { change: 'addUser', name: 'ada', role: 'developer', tokenHash },
    { change: 'createInvite', id: 'invite-1', secretHash: tokenHash, expiresAtMs: 9e12, usesMax: 3 },
    { change: 'createVolumes', volumes: [newVolume(1), newVolume(2, { process: 'worker', node: node(2) })] },
    createService(1),
    createService(2, 'redis', { node: node(3) }),
    createService(3, 'user-provided'),
    bind(1, 1, 1),
  ]);
}

const LONG = 'x'.repeat(3_000);

const TEXTS = [
  '',
  ' ',
  'a',
  'web',
  'x:y',
  'x/y',
  '..',
  '../../etc/passwd',
  '/',
  '-rf',
  '--',
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'hasOwnProperty',
  'NaN',
  '1e999',
  'true',
  'null',
  'admin',
  'http',
  'fence',
  'recreate',
  'a b',
  'a\nb: c',
  'a\r\nx-peer-instance: b',
  'a\0b',
  '\u001b[2J\u001b]0;x\u0007',
  '\u202etxt.exe',
  '\u{1f600}\u200d\u{1f600}',
  'ä',
  '%00%0a',
  '$(reboot)`reboot`',
  '*',
  '*.',
  '*.localhost',
  'localhost:80',
  'http://shop.localhost',
  '[::1]',
  'shop.localhost/../x',
  'shop.localhost//',
  'SHOP.localhost',
  '.'.repeat(300),
  LONG,
  `sha256:${'0'.repeat(64)}`,
  `sha256:${'g'.repeat(64)}`,
  'sha256:',
  '12D3KooWnode1',
  'app-1',
  'release-1',
  'shop',
] as const;

const NUMBERS = [
  0,
  -0,
  1,
  -1,
  2,
  0.5,
  -0.5,
  99.999,
  100,
  101,
  1e9,
  2 ** 31,
  2 ** 32,
  Number.MAX_SAFE_INTEGER,
  8.64e15,
  8.64e15 + 1,
  -8.64e15,
  5e-324,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
] as const;

/** Whole numbers that JavaScript has no exact ones for: Automerge holds them, and every node refuses the change. */
const TOO_LARGE = [2 ** 53, 2 ** 64, -1e300] as const;

const DATES = [0, 8.64e15, -8.64e15, -1] as const;

/** Fields of the schema by the kind of map that they stand in, and more that nobody knows. */
const FIELDS = {
  app: [
    'name',
    'createdAtMs',
    'stopped',
    'scale',
    'memoryBytes',
    'diskBytes',
    'env',
    'health',
    'strategy',
    'partition',
    'maxUnavailable',
    'maxSurge',
    'restartCount',
    'currentRelease',
    'releases',
    'later',
  ],
  release: [
    'version',
    'createdAtMs',
    'createdBy',
    'description',
    'droplet',
    'image',
    'buildpack',
    'processes',
    'env',
    'failed',
  ],
  droplet: ['digest', 'sizeBytes', 'stack'],
  image: ['id', 'ref', 'ownCommand'],
  health: ['kind', 'path', 'timeoutMs'],
  node: ['name', 'admittedAtMs', 'admittedBy', 'draining', 'labels'],
  user: ['role', 'tokenHash', 'createdAtMs', 'node'],
  invite: ['secretHash', 'createdAtMs', 'expiresAtMs', 'usesMax', 'uses'],
  cluster: ['name', 'domain', 'createdAtMs'],
  claim: ['createdAtMs'],
  volume: [
    'owner',
    'process',
    'index',
    'path',
    'sizeBytes',
    'hardQuota',
    'home',
    'snapshotEveryMs',
    'snapshotsKept',
    'onLoss',
    'left',
    'createdAtMs',
  ],
  home: ['node', 'lineage', 'from', 'movedAtMs', 'snapshot', 'snapshotAtMs', 'lost', 'restoredAtMs'],
  service: [
    'name',
    'kind',
    'version',
    'plan',
    'memoryBytes',
    'storageBytes',
    'address',
    'stopped',
    'restartCount',
    'createdAtMs',
    'createdBy',
    'secret',
    'backupEveryMs',
    'backupsKept',
    'wal',
  ],
  binding: ['service', 'app', 'prefix', 'secret', 'createdAtMs', 'createdBy'],
} as const;

/** Maps whose keys people and programs choose. */
const NAMED = ['scale', 'env', 'labels', 'processes', 'uses'];

type Fields = Record<string, unknown>;

const number = (prng: Prng): number => prng.pick(prng.chance(0.002) ? TOO_LARGE : NUMBERS);

const text = (prng: Prng): string => prng.pick(TEXTS);
const stored = (value: string): A.ImmutableString => new A.ImmutableString(value);

function scalar(prng: Prng): unknown {
  switch (prng.between(0, 9)) {
    case 0:
      return null;
    case 1:
      return prng.chance(0.5);
    case 2:
      return new Uint8Array(prng.between(0, 40));
    case 3:
      return new Date(prng.pick(DATES));
    case 4:
      return new A.Counter(prng.between(-3, 3));
    case 5:
      return text(prng);
    case 6:
    case 7:
      return stored(text(prng));
    default:
      return number(prng);
  }
}

/** Any value that Automerge can hold. */
function anything(prng: Prng, depth = 0): unknown {
  if (depth > 3 || prng.chance(0.6)) return scalar(prng);
  const length = prng.between(0, 4);
  if (prng.chance(0.3)) return Array.from({ length }, () => anything(prng, depth + 1));
  return Object.fromEntries(
    Array.from({ length }, () => [prng.pick(TEXTS.slice(2)), anything(prng, depth + 1)] as const).filter(
      ([key]) => key !== '__proto__',
    ),
  );
}

/** What a field means to hold, or nearly. */
function nearly(prng: Prng, name: string): unknown {
  if (prng.chance(0.25)) return anything(prng);
  if (NAMED.includes(name)) {
    const length = prng.chance(0.005) ? 150 : prng.between(0, 4);
    return Object.fromEntries(
      Array.from({ length }, (_, at) => [
        length > 10 ? `K${at}` : prng.pick([...TEXTS.slice(2, 45), 'web', 'worker', 'PATH']),
        prng.chance(0.5) ? stored(text(prng)) : scalar(prng),
      ]),
    );
  }
  switch (name) {
    case 'droplet':
      return fieldsOf(prng, 'droplet');
    case 'image':
      return fieldsOf(prng, 'image');
    case 'health':
      return fieldsOf(prng, 'health');
    case 'failed':
      return { reason: stored(text(prng)), atMs: number(prng) };
    case 'releases':
      return Object.fromEntries([[text(prng) || 'r', release(prng)]]);
    case 'digest':
    case 'id':
      return stored(digest(prng.between(0, 4)));
    case 'tokenHash':
    case 'secretHash':
      return stored(tokenHash);
    case 'kind':
      return stored(prng.pick(['port', 'http', 'process', 'tcp', 'postgres', 'user-provided']));
    case 'home':
      return fieldsOf(prng, 'home');
    case 'node':
    case 'from':
    case 'lineage':
      return stored(prng.pick(['12D3KooWnode1', '12D3KooWnode2', '12D3KooWnode9', text(prng)]));
    case 'owner':
    case 'app':
    case 'service':
      return stored(prng.pick(['app-1', 'app-2', 'service-1', 'service-2', 'service-3', text(prng)]));
    case 'process':
      return stored(prng.pick(['web', 'worker', 'service', text(prng)]));
    case 'index':
      return prng.chance(0.8) ? prng.between(0, 3) : number(prng);
    case 'path':
      return stored(prng.pick(['/data', '/data', '/data/x', '/more', '/usr', '/a/../b', text(prng)]));
    case 'address':
      return stored(prng.pick(['198.18.0.11', '198.18.0.12', '198.19.255.254', '10.0.0.1', text(prng)]));
    case 'plan':
      return stored(prng.pick(['small', 'large', text(prng)]));
    case 'role':
      return stored(prng.pick(['admin', 'viewer', 'root']));
    case 'name':
      return stored(prng.pick(['shop', 'blog', 'news', 'n1', text(prng)]));
    default:
      return /(Ms|Bytes|Count|Max|version|max\w+)$/.test(name) && prng.chance(0.7)
        ? number(prng)
        : prng.chance(0.5)
          ? stored(text(prng))
          : scalar(prng);
  }
}

function fieldsOf(prng: Prng, kind: keyof typeof FIELDS): Fields {
  const made: Fields = {};
  for (const name of FIELDS[kind]) if (prng.chance(0.8)) made[name] = nearly(prng, name);
  return made;
}

const release = (prng: Prng): Fields => ({
  ...fieldsOf(prng, 'release'),
  ...(prng.chance(0.8) && {
    droplet: { digest: stored(digest(prng.between(1, 3))), sizeBytes: 1_000, stack: stored('peer-1') },
  }),
  ...(prng.chance(0.7) && { processes: { web: stored('node .'), [text(prng) || 'p']: stored(text(prng)) } }),
});

/** An app that may well run, whatever its fields and its id. */
const app = (prng: Prng): Fields => ({
  ...fieldsOf(prng, 'app'),
  ...(prng.chance(0.8) && { name: stored(prng.pick(['news', 'wiki', 'constructor'])) }),
  ...(prng.chance(0.8) && { releases: { [prng.chance(0.5) ? 'r-1' : text(prng) || 'r']: release(prng) } }),
});

/** One that may well be mounted, or run. */
const dataRecord = (prng: Prng, kind: 'volume' | 'service' | 'binding'): Fields => ({
  ...fieldsOf(prng, kind),
  ...(prng.chance(0.7) && { secret: stored('sealed:x'), version: stored('15'), home: fieldsOf(prng, 'home') }),
  ...(prng.chance(0.5) && { owner: stored('app-1'), index: prng.between(0, 2), path: stored('/data') }),
});

const key = (prng: Prng, sound: string): string =>
  prng.chance(0.5)
    ? `${sound}-${prng.between(1, 9)}`
    : prng.chance(0.8)
      ? text(prng) || sound
      : `${text(prng)}:${sound}`;

/** One odd thing, somewhere. */
function mutate(doc: Fields, prng: Prng): void {
  const maps = doc as Record<string, Fields>;
  const pickIn = (map: Fields | undefined): Fields | undefined => {
    const keys = Object.keys(map ?? {});
    const found = keys.length === 0 ? undefined : map?.[prng.pick(keys)];
    return typeof found === 'object' && found !== null && !(found instanceof A.ImmutableString)
      ? (found as Fields)
      : undefined;
  };
  const set = (map: Fields | undefined, kind: keyof typeof FIELDS): void => {
    if (map === undefined || Array.isArray(map)) return;
    const name = prng.pick(FIELDS[kind]);
    if (prng.chance(0.1)) delete map[name];
    else map[name] = nearly(prng, name);
  };
  switch (prng.between(0, 21)) {
    case 0:
    case 1:
      maps.apps![key(prng, 'app')] = app(prng);
      break;
    case 2:
      maps.apps![key(prng, 'app')] = anything(prng);
      break;
    case 3:
    case 4:
      set(pickIn(maps.apps), 'app');
      break;
    case 5:
    case 6: {
      const releases = pickIn(maps.apps)?.releases as Fields | undefined;
      if (prng.chance(0.5)) set(pickIn(releases), 'release');
      else if (typeof releases === 'object' && releases !== null && !Array.isArray(releases)) {
        releases[key(prng, 'release')] = release(prng);
      }
      break;
    }
    case 7:
      maps.nodes![key(prng, '12D3KooWnode')] = prng.chance(0.7) ? fieldsOf(prng, 'node') : anything(prng);
      break;
    case 8:
      set(pickIn(maps.nodes), 'node');
      break;
    case 9:
      maps.users![key(prng, 'user')] = prng.chance(0.7) ? fieldsOf(prng, 'user') : anything(prng);
      break;
    case 10:
      set(pickIn(maps.users), 'user');
      break;
    case 11:
      maps.invites![key(prng, 'invite')] = prng.chance(0.7) ? fieldsOf(prng, 'invite') : anything(prng);
      break;
    case 12:
      maps.routes![`${prng.pick(['shop.localhost', 'new.test/x', text(prng)])} ${key(prng, 'app')}`] = prng.chance(0.5)
        ? fieldsOf(prng, 'claim')
        : anything(prng);
      break;
    case 13:
      if (prng.chance(0.3)) maps.removedNodes![key(prng, '12D3KooWnode')] = scalar(prng);
      else doc[`more-${text(prng)}`] = anything(prng);
      break;
    case 14:
      set(maps.cluster, 'cluster');
      break;
    case 15:
    case 16:
    case 17: {
      const kind = prng.pick(['volume', 'service', 'binding'] as const);
      maps[`${kind}s`]![key(prng, kind)] = prng.chance(0.8) ? dataRecord(prng, kind) : anything(prng);
      break;
    }
    case 18:
    case 19:
    case 20: {
      const kind = prng.pick(['volume', 'service', 'binding'] as const);
      set(pickIn(maps[`${kind}s`]), kind);
      break;
    }
    default: {
      // Somewhere, anything.
      const names = ['apps', 'nodes', 'users', 'invites', 'routes', 'volumes', 'services', 'bindings', 'keys'];
      let map = pickIn(maps[prng.pick(names)]);
      while (map !== undefined && !Array.isArray(map) && prng.chance(0.6)) map = pickIn(map) ?? map;
      if (map !== undefined && !Array.isArray(map)) map[text(prng) || 'k'] = anything(prng);
    }
  }
}

/**
 * Odd documents, each the one before and a change with some odd things more: what one change left, the next may
 * stumble over.
 */
export class OddRecords {
  readonly #base: Uint8Array;
  #doc: A.Doc<Fields> | undefined;

  constructor(base: DesiredDocument) {
    this.#base = base.save();
  }

  /** Begins anew from the sound document. */
  restart(): void {
    if (this.#doc !== undefined) A.free(this.#doc);
    this.#doc = A.load<Fields>(this.#base, { actor: 'ee'.repeat(16) });
  }

  /** Undefined when nothing came of it. */
  change(prng: Prng): Uint8Array | undefined {
    const before = this.#doc;
    if (before === undefined) throw new Error('restart() comes first');
    const after = A.change(before, (draft) => {
      for (let things = prng.between(1, 4); things > 0; things--) {
        try {
          mutate(draft, prng);
        } catch (error) {
          // Automerge would not have it (a value in place of a counter, or of a class that it does not know).
          if (!(error instanceof Error)) throw error;
        }
      }
    });
    this.#doc = after;
    return after === before ? undefined : A.getLastLocalChange(after);
  }
}

/** One change on top of a saved document, made with Automerge alone: no rule of the desired state is asked. */
export function rawChange(saved: Uint8Array, edit: (doc: Record<string, Record<string, unknown>>) => void): Uint8Array {
  const doc = A.change(A.load<Record<string, Record<string, unknown>>>(saved, { actor: 'ed'.repeat(16) }), edit);
  const change = A.getLastLocalChange(doc);
  A.free(doc);
  if (change === undefined) throw new Error('the edit changed nothing');
  return change;
}

/** A value of the document as plain maps, to be put in again elsewhere. */
export const plainCopyOf = (value: unknown): Record<string, unknown> => plainCopy(value) as Record<string, unknown>;
