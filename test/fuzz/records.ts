// The fuzzer of records: document after document as an admitted node that keeps to no rule could write them, each
// merged and taken up by another node. The same seed and number give the same document.

import { isDeepStrictEqual } from 'node:util';
import type { NamedChange } from '../../crdt/change.ts';
import { DesiredDocument } from '../../crdt/document.ts';
import { ChangeRejected } from '../../crdt/errors.ts';
import type { DesiredView } from '../../crdt/view.ts';
import {
  actor,
  addRelease,
  admitNode,
  alice,
  app as appOf,
  bind,
  binding,
  clusterId,
  createService,
  exportService,
  newVolume,
  node,
  release,
  service,
  tokenHash,
  volume,
} from '../crdt/fixtures.ts';
import { OddRecords, soundDocument } from '../crdt/odd-records.ts';
import { Prng } from '../sim/prng.ts';
import { survive } from './survive.ts';

export type FuzzFailure = { seed: string; document: number; error: string; replay: string };

export type FuzzResult = {
  seed: string;
  documents: number;
  /** Of the documents: those in which the view had something to refuse. */
  refusing: number;
  /** Changes that the other node did not let in. */
  quarantined: number;
  failures: FuzzFailure[];
  tookMs: number;
};

/** After so many there is nothing new to learn. */
const FAILURES_MAX = 10;
/** Of how many documents one is also written to by people, and one is saved and loaded. */
/** Documents that follow one another, each with an odd change more. */
const CHAIN_LENGTH = 10;
const WRITTEN_EVERY = 7;
const SAVED_EVERY = 27;

export function fuzz(options: {
  seed: string;
  from?: number;
  documents: number;
  onProgress?: (done: number) => void;
}): FuzzResult {
  const { seed, from = 0, documents, onProgress } = options;
  const startedAtMs = performance.now();
  const sound = soundDocument();
  const odd = new OddRecords(sound);
  const result: FuzzResult = { seed, documents: 0, refusing: 0, quarantined: 0, failures: [], tookMs: 0 };
  let document = sound;
  const next = (after: DesiredDocument): void => {
    if (document !== sound && document !== after) document.free();
    document = after;
  };
  // A document builds on those before it in its chain.
  for (let number = from - (from % CHAIN_LENGTH); number < from + documents; number++) {
    if (result.failures.length >= FAILURES_MAX) break;
    const prng = new Prng(`${seed}/${number}`);
    if (number % CHAIN_LENGTH === 0) {
      odd.restart();
      next(sound);
    }
    const change = odd.change(prng.fork('records'));
    try {
      const received = document.receive(change === undefined ? [] : [change]);
      result.quarantined += received.quarantined.length;
      const before = document.view();
      next(received.next);
      if (number < from) continue;
      const view = document.view();
      if (view.problems.length > 0) result.refusing++;
      survive({ before: number % 2 === 0 ? before : sound.view(), view }, prng.fork('life'));
      if (number % WRITTEN_EVERY === 0) write(document, prng.fork('people'));
      if (number % SAVED_EVERY === 0) reload(document, view);
    } catch (error) {
      result.failures.push(failureOf(seed, number, error));
    }
    result.documents++;
    onProgress?.(result.documents);
  }
  next(sound);
  sound.free();
  result.tookMs = Math.round(performance.now() - startedAtMs);
  return result;
}

function failureOf(seed: string, number: number, error: unknown): FuzzFailure {
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const replay = `npm run fuzz -- --seed ${seed} --from ${number} --documents 1`;
  return { seed, document: number, error: stack.split('\n').slice(0, 6).join('\n'), replay };
}

/** People go on working with what is there: each change is taken, or refused with a reason. */
function write(document: DesiredDocument, prng: Prng): void {
  const view = document.view();
  const app = prng.pick([...view.apps.keys(), appOf(1)]);
  const to = view.apps.get(app)?.releases[0]?.id ?? release(1);
  const changes: NamedChange[] = [
    { change: 'scaleApp', app, scale: { web: 2 } },
    { change: 'restartApp', app },
    { change: 'setStopped', app, stopped: true },
    { change: 'setEnv', app, set: { A: '2' }, unset: ['constructor'], release: release(90) },
    {
      change: 'configureApp',
      app,
      settings: { memoryBytes: 64 * 1024 ** 2, health: { kind: 'port', timeoutMs: 1_000 } },
    },
    { ...addRelease(1, 91), app } as NamedChange,
    { change: 'rollback', app, to, release: release(92) },
    { change: 'failRelease', app, release: to, reason: 'it failed' },
    { change: 'mapRoute', app, route: 'new.localhost' },
    { change: 'unmapRoute', app, route: 'shop.localhost' },
    { change: 'deleteApp', app },
    { change: 'removeNode', node: prng.pick([...view.nodes.keys(), node(2)]) },
    { change: 'setDraining', node: prng.pick([...view.nodes.keys(), node(2)]), draining: true },
    { change: 'labelNode', node: prng.pick([...view.nodes.keys(), node(2)]), labels: { zone: 'a' } },
    { change: 'addUser', name: 'constructor', role: 'admin', tokenHash },
    { change: 'removeUser', name: prng.pick([...view.users.keys(), 'ada']) },
    { ...admitNode(9), invite: prng.pick([...view.invites.keys(), 'invite-1']) } as NamedChange,
    admitNode(1),
    { change: 'createVolumes', volumes: [newVolume(80, { owner: app, index: 3 })] },
    { change: 'moveVolume', volume: prng.pick([...view.volumes.keys(), volume(1)]), node: node(2) },
    { change: 'deleteVolume', volume: prng.pick([...view.volumes.keys(), volume(1)]) },
    createService(80),
    {
      change: 'configureService',
      service: prng.pick([...view.services.keys(), service(1)]),
      memoryBytes: 64 * 1024 ** 2,
    },
    { change: 'restartService', service: prng.pick([...view.services.keys(), service(1)]) },
    { change: 'deleteService', service: prng.pick([...view.services.keys(), service(1)]) },
    { ...bind(80, 1, 1), app, service: prng.pick([...view.services.keys(), service(1)]) } as NamedChange,
    exportService(1, 82),
    { change: 'unexportService', service: prng.pick([...view.services.keys(), service(1)]) },
    { change: 'unbindService', binding: prng.pick([...view.bindings.keys(), binding(1)]) },
  ];
  for (const change of prng.shuffle(changes).slice(0, 3)) {
    try {
      document.write([change], alice)?.next.free();
    } catch (error) {
      if (!(error instanceof ChangeRejected)) throw error;
    }
  }
  document.history(20);
}

/** The next start reads the same. */
function reload(document: DesiredDocument, view: DesiredView): void {
  const again = DesiredDocument.load(document.save(), { actor: actor(77), clusterId });
  try {
    if (!isDeepStrictEqual(again.view(), view)) throw new Error('a saved document reads otherwise');
  } finally {
    again.free();
  }
}
