// What an instance or a task of an app finds in its environment beside what the runtime tells it: its own variables,
// opened, and those of the services that it is bound to.

import type { AppId } from '../../crdt/ids.ts';
import type { DesiredView } from '../../crdt/view.ts';
import type { HostEntry } from '../core/types.ts';
import type { SecretKeeper } from '../ports/secrets.ts';
import { servicesEnvironment, withReferences } from '../services/binding-environment.ts';
import { kindOf } from '../services/catalogue.ts';

export type Environment = { env: Record<string, string>; hosts: readonly HostEntry[] };

export class Environments {
  readonly #parts: EnvironmentsParts;

  constructor(parts: EnvironmentsParts) {
    this.#parts = parts;
  }

  /**
   * An app's own variables stand in the place of those of services, and may refer to them. Fails with
   * `secret_unreadable`.
   */
  of(app: AppId, own: Readonly<Record<string, string>>): Environment {
    const { view, secrets } = this.#parts;
    const { env, hosts } = servicesEnvironment({
      view: view(),
      app,
      kindOf,
      open: (context, sealed) => secrets.open(context, sealed),
    });
    return { env: { ...env, ...withReferences(secrets.openEnv(app, own), env) }, hosts };
  }
}

export type EnvironmentsParts = {
  view: () => DesiredView;
  secrets: SecretKeeper;
};
