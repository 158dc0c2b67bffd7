// A runtime that runs services beside the apps of another one: always in the sandbox of this machine, where the
// engines' programs are, whatever runs the apps. Passes on; decides only which of the two an instance is with.

import type { AppId, InstanceId } from '../../crdt/ids.ts';
import type { AdoptedInstance, InstanceSpec } from '../core/types.ts';
import type { Attended, AttendedCommand, CommandRunner, TaskSpec } from '../ports/commands.ts';
import type {
  Freezer,
  Frozen,
  Images,
  InstanceUsage,
  MachinePorts,
  Runtime,
  RuntimeEvent,
  ServiceCall,
  UsageMeter,
} from '../ports/runtime.ts';

type Whole = Runtime & CommandRunner & UsageMeter & Freezer;

/** Instances of services that are there: each of the two leaves what is the other's alone. */
export type ServiceInstances = Set<string>;

export function withServices(parts: { apps: Whole; services: Whole; running: ServiceInstances }): Whole {
  return new RuntimeWithServices(parts);
}

class RuntimeWithServices implements Whole {
  readonly kind: Runtime['kind'];
  readonly stacks: readonly string[];
  readonly images?: Images;
  readonly setMachinePorts?: (ports: MachinePorts) => Promise<void>;
  readonly setServiceCalls?: (calls: readonly ServiceCall[]) => Promise<void>;
  readonly #apps: Whole;
  readonly #services: Whole;
  readonly #running: ServiceInstances;

  constructor({ apps, services, running }: { apps: Whole; services: Whole; running: ServiceInstances }) {
    this.#apps = apps;
    this.#services = services;
    this.#running = running;
    this.kind = apps.kind;
    this.stacks = apps.stacks;
    if (apps.images !== undefined) this.images = apps.images;
    if (apps.setMachinePorts !== undefined) this.setMachinePorts = (ports) => apps.setMachinePorts!(ports);
    if (apps.setServiceCalls !== undefined) this.setServiceCalls = (calls) => apps.setServiceCalls!(calls);
    services.onEvent((event) => {
      if (event.type === 'instanceExited') running.delete(event.id);
    });
  }

  onEvent(listener: (event: RuntimeEvent) => void): void {
    this.#apps.onEvent(listener);
    this.#services.onEvent(listener);
  }

  /** Services first: what is nobody's is cleared away by the runtime of apps, which is told what is theirs. */
  async adopt(): Promise<AdoptedInstance[]> {
    const services = await this.#services.adopt();
    for (const { id } of services) this.#running.add(id);
    return [...services, ...(await this.#apps.adopt())];
  }

  start(spec: InstanceSpec): void {
    if (spec.service === undefined) {
      this.#apps.start(spec);
      return;
    }
    this.#running.add(spec.id);
    this.#services.start(spec);
  }

  stop(id: InstanceId, reason: string): void {
    this.#of(id).stop(id, reason);
  }

  exec(id: InstanceId, command: AttendedCommand): Promise<Attended> {
    return this.#of(id).exec(id, command);
  }

  runTask(task: TaskSpec, command: AttendedCommand): Promise<Attended> {
    return this.#apps.runTask(task, command);
  }

  freeze(id: InstanceId): Promise<Frozen> {
    return this.#of(id).freeze(id);
  }

  async usage(app: AppId): Promise<InstanceUsage[]> {
    return (await Promise.all([this.#apps.usage(app), this.#services.usage(app)])).flat();
  }

  async close(options: { keepInstances: boolean }): Promise<void> {
    await Promise.all([this.#services.close(options), this.#apps.close(options)]);
  }

  #of(id: InstanceId): Whole {
    return this.#running.has(id) ? this.#services : this.#apps;
  }
}
