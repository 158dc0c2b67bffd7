// The steward of the services that run on this node: sees that each engine lets in exactly those that the desired
// state binds, and says what it knows of each. Decides nothing about where a service runs.
//
// The engine is the truth of who is let in: after every start of one, and after every change of bindings, its own list
// is read and compared, so that nothing is kept beside it that could be wrong.

import type { BindingId, InstanceId, ServiceId } from '../../crdt/ids.ts';
import { oneLine } from '../../crdt/limits.ts';
import type { BindingView, DesiredView, ServiceView } from '../../crdt/view.ts';
import type { ClusterEvent } from '../core/types.ts';
import { newPassword } from '../identity/passwords.ts';
import type { Log } from '../lib/log.ts';
import type { CommandRunner } from '../ports/commands.ts';
import type { Access, ServiceCommand } from '../ports/services.ts';
import { accessOf } from './binding-environment.ts';
import type { Contexts } from './contexts.ts';
import { databaseName, isUserOfBinding, newGuestUser, userOf } from './names.ts';
import { CommandFailed, runInService } from './run-command.ts';

/** One call of an engine's tool; RabbitMQ's takes seconds on a busy machine. */
const COMMAND_TIMEOUT_MS = 60_000;
/** Before the n-th try in a row that follows a failure: 1 s, doubling to a minute. */
const RETRY_DELAY_MIN_MS = 1_000;
const RETRY_DELAY_MAX_MS = 60_000;
/** What an engine says of its use is asked for at most this often. */
const USAGE_KEPT_MS = 5_000;
const REASON_LENGTH_MAX = 200;
/** A guest waits for its access no longer; a busy RabbitMQ takes some seconds for each command. */
const ADMISSION_TIMEOUT_MS = 60_000;
/** Of one service at a time: each may use up as many of its connections as it likes. */
export const GUESTS_MAX = 16;

/** A person who is not let in; what the engine's tool says fails as it does. */
class NotAdmitted extends Error {
  readonly code: 'service_not_ready' | 'busy';
  constructor(code: NotAdmitted['code'], message: string) {
    super(message);
    this.code = code;
  }
}

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

/** Someone who is to be let in. */
type Wanted = { user: string; access: () => Access; whom: string };

/** A person while their session lasts; written down nowhere, so that whoever forgets them ends their access. */
type Guest = { access: Access; whom: string; settle: (error?: Error) => void };

/** Of one service whose engine runs here. */
type Charge = {
  instance: InstanceId;
  /** By their names, those that the engine lets in, as far as is known. */
  granted: Set<string>;
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
  readonly #guests = new Map<ServiceId, Map<string, Guest>>();
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
      const letIn = this.#shut.has(service.id) ? [] : this.#wantedOf(service, wanted.get(service.id) ?? []);
      this.#see(service, instance, letIn);
    }
  }

  /**
   * Lets a person in until `dismiss`, with an access of their own. `whom`: their name. Fails with NotAdmitted or
   * CommandFailed, and then they are not let in.
   */
  async admit(id: ServiceId, whom: string, signal: AbortSignal): Promise<Access> {
    const service = this.#parts.view().services.get(id);
    const guests = this.#guests.get(id) ?? new Map<string, Guest>();
    if (service === undefined || !this.#charges.has(id)) {
      throw new NotAdmitted('service_not_ready', `${service?.name ?? 'the service'} does not run here now`);
    }
    if (guests.size >= GUESTS_MAX) {
      throw new NotAdmitted('busy', `${GUESTS_MAX} people are connected to ${service.name} already: try again later`);
    }
    const access = { user: newGuestUser(), password: newPassword(), database: databaseName(service.name) };
    const ending = AbortSignal.any([signal, AbortSignal.timeout(ADMISSION_TIMEOUT_MS)]);
    try {
      await new Promise<void>((resolve, reject) => {
        const settle = (error?: Error): void => (error === undefined ? resolve() : reject(error));
        const onEnd = (): void =>
          settle(new NotAdmitted('service_not_ready', `${service.name} did not let you in in time`));
        if (ending.aborted) onEnd();
        ending.addEventListener('abort', onEnd);
        this.#guests.set(id, guests.set(access.user, { access, whom, settle }));
        this.look();
      });
    } catch (error) {
      this.dismiss(id, access.user);
      throw error;
    }
    return access;
  }

  /** Their connections end with their access. Harmless when they were not let in. */
  dismiss(id: ServiceId, user: string): void {
    const guests = this.#guests.get(id);
    if (guests?.delete(user) && guests.size === 0) this.#guests.delete(id);
    this.look();
  }

  /** Bindings, and the export, that the engine of a service here lets in; undefined when it does not run here. */
  granted(service: ServiceId): BindingId[] | undefined {
    const charge = this.#charges.get(service);
    if (charge === undefined) return undefined;
    const { bindings, services } = this.#parts.view();
    const exported = services.get(service)?.export;
    const known = [...bindings.values()].filter((one) => one.service === service);
    return [...known, ...(exported === undefined ? [] : [exported])]
      .filter((one) => charge.granted.has(userOf(one)))
      .map(({ id }) => id)
      .sort();
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

  #wantedOf(service: ServiceView, bindings: readonly BindingView[]): Wanted[] {
    const { open, view } = this.#parts;
    const guests = [...(this.#guests.get(service.id)?.values() ?? [])];
    const { export: exported } = service;
    return [
      ...(exported === undefined
        ? []
        : [
            {
              user: userOf(exported),
              access: () => accessOf(service, exported, open),
              whom: `who reaches ${exported.host} port ${exported.port}`,
            },
          ]),
      ...bindings.map((binding) => ({
        user: userOf(binding),
        access: () => accessOf(service, binding, open),
        whom: view().apps.get(binding.app)?.name ?? binding.app,
      })),
      ...guests.map(({ access, whom }) => ({
        user: access.user,
        access: () => access,
        whom: `${whom}, who connects,`,
      })),
    ];
  }

  /** Guests hear what came of their access. */
  #tellGuests(service: ServiceView, charge: Charge, error?: Error): void {
    for (const [user, { settle }] of this.#guests.get(service.id) ?? []) {
      if (error !== undefined) settle(error);
      else if (charge.granted.has(user)) settle();
    }
  }

  #see(service: ServiceView, instance: InstanceId, everyone: readonly Wanted[]): void {
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
    const wanted = everyone
      .map(({ user }) => user)
      .sort()
      .join();
    if (charge.doneFor === wanted || charge.working !== undefined || charge.retry !== undefined) return;
    const mine = charge;
    mine.working = this.#reconcile(service, mine, everyone)
      .then(
        () => {
          this.#tellGuests(service, mine);
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

  async #reconcile(service: ServiceView, charge: Charge, everyone: readonly Wanted[]): Promise<void> {
    const { runner, contexts } = this.#parts;
    const { kind, context } = contexts.of(service);
    const run = (command: ServiceCommand): Promise<string> =>
      runInService(runner, charge.instance, command, { timeoutMs: COMMAND_TIMEOUT_MS });
    const there = new Set((await run(kind.accesses(context))).split('\n').map((line) => line.trim()));
    const wanted = new Set(everyone.map(({ user }) => user));
    // First who may not come in any more.
    for (const user of [...there].filter((name) => isUserOfBinding(name) && !wanted.has(name)).sort()) {
      await run(kind.revoke(context, user));
      this.#say('service.revoked', service, `${service.name} ended an access, and the connections that it had`);
    }
    charge.granted = new Set([...wanted].filter((user) => there.has(user)));
    for (const { user, access, whom } of everyone) {
      if (charge.granted.has(user)) continue;
      await run(kind.grant(context, access()));
      charge.granted.add(user);
      this.#say('service.granted', service, `${service.name} lets ${whom} in`);
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
    this.#tellGuests(service, charge, error instanceof Error ? error : undefined);
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
