// The steward of the services that run on this node: sees that each engine lets in exactly those that the desired
// state binds, and says what it knows of each. Decides nothing about where a service runs.
//
// The engine is the truth of who is let in: after every start of one, and after every change of bindings, its own list
// is read and compared, so that nothing is kept beside it that could be wrong.

import type { BindingId, InstanceId, ServiceId } from '../../crdt/ids.ts';
import { oneLine } from '../../crdt/limits.ts';
import type { BindingView, DesiredView, ServiceView } from '../../crdt/view.ts';
import type { ClusterEvent } from '../core/types.ts';
import type { Log } from '../lib/log.ts';
import type { CommandRunner } from '../ports/commands.ts';
import type { ServiceCommand } from '../ports/services.ts';
import { accessOf } from './binding-environment.ts';
import type { Contexts } from './contexts.ts';
import { isUserOfBinding, userOf } from './names.ts';
import { CommandFailed, runInService } from './run-command.ts';

/** One call of an engine's tool; RabbitMQ's takes seconds on a busy machine. */
const COMMAND_TIMEOUT_MS = 60_000;
/** Before the n-th try in a row that follows a failure: 1 s, doubling to a minute. */
const RETRY_DELAY_MIN_MS = 1_000;
const RETRY_DELAY_MAX_MS = 60_000;
/** What an engine says of its use is asked for at most this often. */
const USAGE_KEPT_MS = 5_000;
const REASON_LENGTH_MAX = 200;

export type ServiceUsage = { connections: number; dataBytes: number };

export type StewardParts = {
  view: () => DesiredView;
  /** The ready instance of the service on this node, if there is one. */
  instanceOf: (service: ServiceId) => InstanceId | undefined;
  contexts: Contexts;
  open: (context: string, sealed: string) => string;
  runner: Pick<CommandRunner, 'exec'>;
  record: (event: ClusterEvent) => void;
  log: Log;
  nowMs: () => number;
};

/** Of one service whose engine runs here. */
type Charge = {
  instance: InstanceId;
  /** Bindings that the engine lets in, as far as is known. */
  granted: Set<BindingId>;
  /** What the last look was made for: nothing is done anew for the same. */
  doneFor: string | undefined;
  working: Promise<void> | undefined;
  /** What is being done is for data that has been replaced meanwhile. */
  stale: boolean;
  failures: number;
  retry: NodeJS.Timeout | undefined;
  usage: { atMs: number; asked: Promise<ServiceUsage | undefined> } | undefined;
};

export class Steward {
  readonly #parts: StewardParts;
  readonly #charges = new Map<ServiceId, Charge>();
  /** Services that let nobody in, for as long as this instance runs them. */
  readonly #shut = new Map<ServiceId, InstanceId>();
  #closed = false;

  constructor(parts: StewardParts) {
    this.#parts = parts;
  }

  /** Call whenever the desired state has changed, or what runs here; costs little where nothing is to be done. */
  look(): void {
    if (this.#closed) return;
    const { view, instanceOf } = this.#parts;
    const { services, bindings } = view();
    for (const [id, shut] of this.#shut) {
      const instance = instanceOf(id);
      if (!services.has(id) || (instance !== undefined && instance !== shut)) this.#shut.delete(id);
    }
    for (const [id, charge] of this.#charges) {
      if (services.has(id) && instanceOf(id) === charge.instance) continue;
      clearTimeout(charge.retry);
      this.#charges.delete(id);
    }
    if (services.size === 0) return;
    const wanted = Map.groupBy(bindings.values(), ({ service }) => service);
    for (const service of services.values()) {
      const instance = instanceOf(service.id);
      if (instance === undefined) continue;
      this.#see(service, instance, this.#shut.has(service.id) ? [] : (wanted.get(service.id) ?? []));
    }
  }

  /** Bindings that the engine of a service here lets in; undefined when it does not run here. */
  granted(service: ServiceId): BindingId[] | undefined {
    const charge = this.#charges.get(service);
    return charge === undefined ? undefined : [...charge.granted].sort();
  }

  /** Clients and data of a service that runs here; undefined when it cannot be told. */
  usage(service: ServiceId): Promise<ServiceUsage | undefined> {
    const charge = this.#charges.get(service);
    const view = this.#parts.view().services.get(service);
    if (charge === undefined || view === undefined) return Promise.resolve(undefined);
    const nowMs = this.#parts.nowMs();
    if (charge.usage === undefined || nowMs - charge.usage.atMs > USAGE_KEPT_MS) {
      charge.usage = { atMs: nowMs, asked: this.#askUsage(view, charge.instance).catch(() => undefined) };
    }
    return charge.usage.asked;
  }

  /** Call when the data of a service here was replaced: some engines keep in it whom they let in. */
  lookAgain(service: ServiceId): void {
    const charge = this.#charges.get(service);
    if (charge === undefined) return;
    charge.doneFor = undefined;
    charge.granted = new Set();
    charge.stale = charge.working !== undefined;
    this.look();
  }

  /**
   * Resolves when the engine of a service here lets no binding in any more and has ended their connections; so it is
   * until `reopen`, or until another instance runs the service. Fails with CommandFailed, and may let some in then.
   */
  async shut(service: ServiceId): Promise<void> {
    const instance = this.#parts.instanceOf(service);
    if (instance === undefined) throw new CommandFailed('the service does not run here now');
    this.#shut.set(service, instance);
    for (;;) {
      // What is under way was begun for others.
      await this.#charges.get(service)?.working;
      this.look();
      const charge = this.#charges.get(service);
      if (this.#closed || charge?.instance !== instance || !this.isShut(service)) {
        throw new CommandFailed('the service was started anew meanwhile');
      }
      if (charge.doneFor === '' && charge.granted.size === 0) return;
      if (charge.retry !== undefined) throw new CommandFailed('the engine could not be told to let nobody in');
    }
  }

  /** Whether nobody was let in since `shut`. */
  isShut(service: ServiceId): boolean {
    return this.#shut.has(service);
  }

  reopen(service: ServiceId): void {
    this.#shut.delete(service);
    this.look();
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const { retry } of this.#charges.values()) clearTimeout(retry);
    await Promise.all([...this.#charges.values()].map(({ working }) => working));
  }

  #see(service: ServiceView, instance: InstanceId, bindings: readonly BindingView[]): void {
    let charge = this.#charges.get(service.id);
    if (charge === undefined) {
      charge = {
        instance,
        granted: new Set(),
        doneFor: undefined,
        working: undefined,
        stale: false,
        failures: 0,
        retry: undefined,
        usage: undefined,
      };
      this.#charges.set(service.id, charge);
    }
    const wanted = bindings
      .map(({ id }) => id)
      .sort()
      .join();
    if (charge.doneFor === wanted || charge.working !== undefined || charge.retry !== undefined) return;
    const mine = charge;
    mine.working = this.#reconcile(service, mine, bindings)
      .then(
        () => {
          mine.doneFor = mine.stale ? undefined : wanted;
          mine.stale = false;
          mine.failures = 0;
        },
        (error: unknown) => this.#failed(service, mine, error),
      )
      .finally(() => {
        mine.working = undefined;
        // More may have been asked for meanwhile.
        this.look();
      });
  }

  async #reconcile(service: ServiceView, charge: Charge, bindings: readonly BindingView[]): Promise<void> {
    const { open, runner, contexts } = this.#parts;
    const { kind, context } = contexts.of(service);
    const run = (command: ServiceCommand): Promise<string> =>
      runInService(runner, charge.instance, command, { timeoutMs: COMMAND_TIMEOUT_MS });
    const there = new Set((await run(kind.accesses(context))).split('\n').map((line) => line.trim()));
    const wanted = new Map(bindings.map((binding) => [userOf(binding), binding]));
    // First who may not come in any more.
    for (const user of [...there].filter((name) => isUserOfBinding(name) && !wanted.has(name)).sort()) {
      await run(kind.revoke(context, user));
      this.#say('service.revoked', service, `${service.name} lets a binding in no more, and has ended its connections`);
    }
    charge.granted = new Set([...wanted.values()].filter((one) => there.has(userOf(one))).map(({ id }) => id));
    for (const binding of bindings) {
      if (charge.granted.has(binding.id)) continue;
      await run(kind.grant(context, accessOf(service, binding, open)));
      charge.granted.add(binding.id);
      const app = this.#parts.view().apps.get(binding.app)?.name ?? binding.app;
      this.#say('service.granted', service, `${service.name} lets ${app} in`);
    }
  }

  async #askUsage(service: ServiceView, instance: InstanceId): Promise<ServiceUsage | undefined> {
    const { contexts, runner } = this.#parts;
    const { kind, context } = contexts.of(service);
    const text = await runInService(runner, instance, kind.usage(context), {
      timeoutMs: COMMAND_TIMEOUT_MS,
    });
    const [connections, dataBytes] = text.trim().split(/\s+/).map(Number);
    if (!Number.isSafeInteger(connections) || !Number.isSafeInteger(dataBytes)) return undefined;
    return { connections: connections!, dataBytes: dataBytes! };
  }

  /** Tried again after a pause that grows; said once for as long as it goes on. */
  #failed(service: ServiceView, charge: Charge, error: unknown): void {
    const isCharge = this.#charges.get(service.id) === charge;
    if (this.#closed || !isCharge) return;
    charge.failures++;
    const reason = oneLine(error instanceof Error ? error.message : String(error), REASON_LENGTH_MAX);
    this.#parts.log.warn('service.bindings_failed', { service: service.name, reason, failures: charge.failures });
    if (charge.failures === 1) {
      this.#say(
        'service.bindings_failed',
        service,
        `bindings of ${service.name} could not be brought up to date: ${reason}`,
      );
    }
    const delayMs = Math.min(RETRY_DELAY_MAX_MS, RETRY_DELAY_MIN_MS * 2 ** Math.min(charge.failures - 1, 20));
    charge.retry = setTimeout(() => {
      charge.retry = undefined;
      this.look();
    }, delayMs).unref();
  }

  #say(name: string, service: ServiceView, message: string): void {
    this.#parts.record({ name, app: service.id as unknown as NonNullable<ClusterEvent['app']>, message });
  }
}
