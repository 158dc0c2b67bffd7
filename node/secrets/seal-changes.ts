// What a write becomes before it is made: values of the environment are sealed, and with a node goes the key that it
// knew. So nothing that people set reaches the document in clear, whichever part of the API it came through.

import type { NamedChange } from '../../crdt/change.ts';
import { checkEnv, checkEnvSet } from '../../crdt/checks.ts';
import type { AppId } from '../../crdt/ids.ts';
import { KEYS_MAX } from '../../crdt/limits.ts';
import { envContext, isSealed } from '../../crdt/sealed.ts';
import type { DesiredView } from '../../crdt/view.ts';
import type { Keyring } from './keyring.ts';
import { newKeyFor } from './new-key.ts';
import { type ClusterKey, seal } from './seal.ts';

type Env = Readonly<Record<string, string>>;

/**
 * The same changes, sealed. In clear as they are while the cluster has no key, as nodes of an older version could read
 * nothing else. Fails with ChangeRejected as the write would, for values in clear that break a rule.
 */
export function sealChanges(changes: readonly NamedChange[], view: DesiredView, keyring: Keyring): NamedChange[] {
  const key = keyring.current(view);
  if (key === undefined) return [...changes];
  return changes.flatMap((change): NamedChange[] => {
    switch (change.change) {
      case 'createApp':
        checkEnvSet(change.env);
        return [{ ...change, env: sealed(key, change.app, change.env, {}) }];
      case 'addRelease': {
        if (change.env === undefined) return [change];
        return [{ ...change, env: sealedFor(change.app, change.env, [], { key, view, keyring }) }];
      }
      case 'setEnv':
        return [{ ...change, set: sealedFor(change.app, change.set, change.unset, { key, view, keyring }) }];
      case 'removeNode':
        return [change, ...keyWithout(change, view, keyring)];
      default:
        return [change];
    }
  });
}

type With = { key: ClusterKey; view: DesiredView; keyring: Keyring };

/** A value that is set to what it is stays as it stands, whichever key it was sealed with: so nothing has changed. */
function sealedFor(app: AppId, set: Env, unset: readonly string[], { key, view, keyring }: With): Env {
  checkEnvSet(set);
  const before = view.apps.get(app)?.env ?? {};
  const opened: Record<string, string> = {};
  for (const [name, value] of Object.entries(before)) opened[name] = openedIfReadable(app, name, value, keyring);
  const kept = Object.entries(opened).filter(([name]) => !unset.includes(name));
  // Of all together, exactly as people count.
  checkEnv({ ...Object.fromEntries(kept), ...set });
  const same = Object.entries(set).filter(
    ([name, value]) => Object.hasOwn(before, name) && isSealed(before[name]!) && opened[name] === value,
  );
  return sealed(key, app, set, Object.fromEntries(same.map(([name]) => [name, before[name]!])));
}

const sealed = (key: ClusterKey, app: AppId, env: Env, standing: Env): Record<string, string> =>
  Object.fromEntries(
    Object.entries(env).map(([name, value]) => [name, standing[name] ?? seal(key, envContext(app, name), value)]),
  );

/** One that cannot be opened here counts as it stands. */
function openedIfReadable(app: AppId, name: string, value: string, keyring: Keyring): string {
  try {
    return keyring.openEnv(app, { [name]: value })[name]!;
  } catch {
    return value;
  }
}

/** For those who stay. A node that removes itself makes none: it would know that one too, and others see to it. */
function keyWithout({ node }: { node: string }, view: DesiredView, keyring: Keyring): NamedChange[] {
  const staying = [...view.nodes.values()].filter(({ id }) => id !== node);
  const isMade = node !== keyring.self && staying.length > 0 && view.keys.size < KEYS_MAX;
  return !isMade ? [] : [newKeyFor(staying)];
}
