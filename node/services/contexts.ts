// What a kind needs to make files and commands for a service on this machine: its plan, the engine, and the password
// of the engine's own administrator.

import { serviceContext } from '../../crdt/sealed.ts';
import type { ServiceView } from '../../crdt/view.ts';
import { serviceHost } from '../core/service-address.ts';
import { serverCertificate } from '../identity/service-certificate.ts';
import type { Engine, PlanName, ServiceContext, ServiceKind } from '../ports/services.ts';
import { CommandFailed } from './run-command.ts';

export type ContextsParts = {
  kindOf: (name: string) => ServiceKind | undefined;
  /** As this machine has it. */
  engineOf: (kind: string, version: string) => Engine | undefined;
  /** Throws what cannot be opened. */
  open: (context: string, sealed: string) => string;
};

export class Contexts {
  readonly #parts: ContextsParts;

  constructor(parts: ContextsParts) {
    this.#parts = parts;
  }

  /** Fails with CommandFailed where the service cannot run here. */
  of(service: ServiceView): { kind: ServiceKind; context: ServiceContext } {
    const { kindOf, engineOf, open } = this.#parts;
    const kind = kindOf(service.kind);
    const engine = engineOf(service.kind, service.version);
    if (kind === undefined || engine === undefined) {
      throw new CommandFailed(`this node has no ${service.kind} ${service.version}`);
    }
    const plan = Object.hasOwn(kind.plans, service.plan) ? kind.plans[service.plan as PlanName] : kind.plans.small;
    const adminPassword = open(serviceContext(service.id), service.secret);
    const names: [string] = [serviceHost(service.name)];
    const certificate = () => serverCertificate(adminPassword, { service: service.id, names });
    return { kind, context: { service, plan, engine, adminPassword, certificate } };
  }
}
