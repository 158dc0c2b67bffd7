// What the runtime asks of the services that it is to run: their programs, and how to find out whether they answer.

import type { ServiceId } from '../../crdt/ids.ts';
import type { DesiredView } from '../../crdt/view.ts';
import type { InstanceSpec } from '../core/types.ts';
import type { LaunchedService, ServiceCommand, ServicePrograms } from '../ports/services.ts';
import type { Contexts } from './contexts.ts';
import { CommandFailed } from './run-command.ts';

export class Launching implements ServicePrograms {
  readonly #view: () => DesiredView;
  readonly #contexts: Contexts;

  constructor({ view, contexts }: { view: () => DesiredView; contexts: Contexts }) {
    this.#view = view;
    this.#contexts = contexts;
  }

  async programOf({ service, app }: InstanceSpec): Promise<LaunchedService> {
    if (service === undefined) throw new CommandFailed(`${app.name} is no service`);
    const { kind, context } = this.#contexts.of(service);
    return { ...kind.program(context), probe: kind.probe(context), port: kind.port };
  }

  async probeOf(id: ServiceId): Promise<ServiceCommand | undefined> {
    const service = this.#view().services.get(id);
    if (service === undefined) return undefined;
    const { kind, context } = this.#contexts.of(service);
    return kind.probe(context);
  }
}
