// The keys that this node has, out of the desired state: seals with the newest, opens with any. Never writes; who
// makes keys and passes them on is upkeep.ts.

import type { AppId, NodeId } from '../../crdt/ids.ts';
import { envContext, isSealed } from '../../crdt/sealed.ts';
import type { DesiredView, KeyView } from '../../crdt/view.ts';
import type { SecretKeeper } from '../ports/secrets.ts';
import { type ClusterKey, open, SecretError, seal } from './seal.ts';
import { type NodeKey, nodeKeyOf, unwrapKey } from './wrap.ts';

type Parts = {
  self: NodeId;
  /** The private key of the node's identity (Ed25519), 32 bytes. */
  seed: Uint8Array;
  view: () => DesiredView;
};

/** Keys that are remembered after they have gone from the desired state: a value may arrive late. */
const REMEMBERED_MAX = 1_000;

export class Keyring implements SecretKeeper {
  readonly self: NodeId;
  readonly #own: NodeKey;
  readonly #view: () => DesiredView;
  /** By id. What was opened once stays good: the id follows from the key. */
  readonly #opened = new Map<string, ClusterKey>();
  /** What did not open, so that it is tried once. */
  readonly #useless = new Map<string, string>();

  constructor({ self, seed, view }: Parts) {
    this.self = self;
    this.#own = nodeKeyOf(seed);
    this.#view = view;
  }

  /** This node's public key, for the desired state. */
  get sealKey(): string {
    return this.#own.sealKey;
  }

  /** The newest that this node has: it seals. */
  current(view: DesiredView = this.#view()): ClusterKey | undefined {
    for (const key of [...view.keys.values()].reverse()) {
      const opened = this.#openedOf(key);
      if (opened !== undefined) return opened;
    }
    return undefined;
  }

  keyOf(id: string, view: DesiredView = this.#view()): ClusterKey | undefined {
    const known = this.#opened.get(id);
    if (known !== undefined) return known;
    const key = view.keys.get(id);
    return key === undefined ? undefined : this.#openedOf(key);
  }

  seal(context: string, plain: string): string {
    const key = this.current();
    if (key === undefined) throw new SecretError('no_cluster_key', this.#whyNone());
    return seal(key, context, plain);
  }

  open(context: string, sealed: string): string {
    return open((id) => this.keyOf(id), context, sealed);
  }

  openEnv(app: AppId, env: Readonly<Record<string, string>>): Record<string, string> {
    const opened: Record<string, string> = Object.create(null);
    for (const [name, value] of Object.entries(env)) {
      opened[name] = isSealed(value) ? this.open(envContext(app, name), value) : value;
    }
    return opened;
  }

  #openedOf({ id, wraps }: KeyView): ClusterKey | undefined {
    const known = this.#opened.get(id);
    if (known !== undefined) return known;
    const wrapped = wraps[this.self];
    if (wrapped === undefined || this.#useless.get(id) === wrapped) return undefined;
    const opened = unwrapKey(wrapped, id, this.self, this.#own);
    if (opened === undefined) remember(this.#useless, id, wrapped);
    else remember(this.#opened, id, opened);
    return opened;
  }

  #whyNone(): string {
    const older = [...this.#view().nodes.values()].filter(({ sealKey }) => sealKey === undefined);
    if (older.length === 0) return 'the cluster has given this node no key to seal secrets with yet: try again';
    const names = older.slice(0, NODES_NAMED_MAX).map(({ name }) => name);
    return `secrets cannot be sealed while nodes run an older version (${names.join(', ')}): upgrade them, or remove those that are gone for good`;
  }
}

const NODES_NAMED_MAX = 3;

function remember<T>(map: Map<string, T>, id: string, value: T): void {
  const [oldest] = map.keys();
  if (map.size >= REMEMBERED_MAX && oldest !== undefined) map.delete(oldest);
  map.set(id, value);
}
