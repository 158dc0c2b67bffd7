// Port of secrets: texts that stand in the desired state sealed, and are opened where they are used. Types only.

import type { AppId } from '../../crdt/ids.ts';

/**
 * What is sealed opens on every node of the cluster, and only in its own place: `context` says which, as made in
 * crdt/sealed.ts. Calls are synchronous, and take some microseconds each.
 */
export interface SecretKeeper {
  /** The same text in the same place gives the same result, for as long as the cluster's key is the same. Fails with
   * an error of the code `no_cluster_key` as long as there is none, which names the nodes that it waits for. */
  seal(context: string, plain: string): string;
  /**
   * Fails with an error of the code `secret_unreadable` when it is not sealed, was sealed for another place, was
   * changed, or with a key that this node does not have (yet). The message holds nothing of the secret.
   */
  open(context: string, sealed: string): string;
  /**
   * The environment of an app or of a release of it. Values that an older version wrote in clear stand as they are.
   * Fails as `open` does, naming the variable.
   */
  openEnv(app: AppId, env: Readonly<Record<string, string>>): Record<string, string>;
}
