// Twin of a node's runtime: instances as the machine runs them, whether or not a daemon is there to hear of it. Keeps
// the promises of the Runtime port (launched, then ready or unhealthy, then exactly one exited); decides nothing.

import type { AppId, InstanceId } from '../../crdt/ids.ts';
import type { AdoptedInstance, InstanceSpec } from '../../node/core/types.ts';
import type { RuntimeEvent } from '../../node/ports/runtime.ts';
import type { Clock } from './clock.ts';
import type { Prng } from './prng.ts';

/** What a release's code does when it is run. */
export type Quality = 'good' | 'slow' | 'crash' | 'never' | 'flap';

export type Running = {
  spec: InstanceSpec;
  port: number;
  state: 'launching' | 'starting' | 'ready' | 'unhealthy' | 'stopping';
  readySinceMs: number;
  everReady: boolean;
  /** The daemon has taken the news that it is ready; it waits while the daemon is busy. */
  told: boolean;
  /** Ignores TERM: ends only when the daemon kills it. */
  stubborn: boolean;
};

/** Three failed checks a second apart. */
const UNHEALTHY_AFTER_MS = 3_000;
const FLAP_AFTER_MS = 4_000;
const UNPACK_FAILS_AFTER_MS = 30;
const STUBBORN_STOP_MS = 10_000;
const FIRST_PORT = 40_000;
const PORTS = 20_000;

export class SimRuntime {
  readonly running = new Map<InstanceId, Running>();
  /** Who hears of it; nobody while the daemon is down. */
  listener: ((event: RuntimeEvent) => void) | undefined;
  readonly #clock: Clock;
  readonly #rng: Prng;
  readonly #startMs: number;
  readonly #stopMaxMs: number;
  readonly #qualityOf: (spec: InstanceSpec) => Quality;
  readonly #lost: (instance: Running) => void;
  readonly #isDiskFull: () => boolean;
  #started = 0;

  /** `lost` hears of every ready instance that stops serving without having been told to. */
  constructor(options: {
    clock: Clock;
    rng: Prng;
    startMs: number;
    stopMaxMs: number;
    qualityOf: (spec: InstanceSpec) => Quality;
    lost: (instance: Running) => void;
    /** Then nothing can be unpacked. */
    isDiskFull?: () => boolean;
  }) {
    this.#clock = options.clock;
    this.#rng = options.rng;
    this.#startMs = options.startMs;
    this.#stopMaxMs = options.stopMaxMs;
    this.#qualityOf = options.qualityOf;
    this.#lost = options.lost;
    this.#isDiskFull = options.isDiskFull ?? (() => false);
  }

  start(spec: InstanceSpec): void {
    const one: Running = {
      spec,
      port: FIRST_PORT + (this.#started++ % PORTS),
      state: 'launching',
      readySinceMs: 0,
      everReady: false,
      told: false,
      stubborn: false,
    };
    this.running.set(spec.id, one);
    if (this.#isDiskFull()) {
      this.#in(one, UNPACK_FAILS_AFTER_MS, () => {
        this.running.delete(spec.id);
        this.#tell({ type: 'instanceExited', id: spec.id, reason: 'no space left on device', lacks: 'disk' });
      });
      return;
    }
    const quality = this.#qualityOf(spec);
    this.#in(one, this.#rng.between(1, 40), () => {
      if (one.state !== 'launching') return;
      one.state = 'starting';
      this.#tell({ type: 'instanceLaunched', id: spec.id, port: one.port });
    });
    this.#in(one, spec.health.timeoutMs, () => {
      if (one.state === 'launching' || one.state === 'starting') {
        this.#end(one, `did not become healthy within ${spec.health.timeoutMs} ms`);
      }
    });
    const startMs = this.#startMs * (0.5 + this.#rng.share()) + 45;
    if (quality === 'crash') {
      this.#in(one, startMs, () => one.state === 'starting' && this.#end(one, 'exited with status 1'));
    } else if (quality !== 'never') {
      const readyAfterMs = quality === 'slow' ? Math.max(startMs, spec.health.timeoutMs * 0.6) : startMs;
      this.#in(one, readyAfterMs, () => this.#becomeReady(one));
      if (quality === 'flap') {
        this.#in(
          one,
          readyAfterMs + FLAP_AFTER_MS,
          () => one.state === 'ready' && this.#end(one, 'exited with status 3'),
        );
      }
    }
  }

  stop(id: InstanceId): void {
    const one = this.running.get(id);
    if (one === undefined || one.state === 'stopping') return;
    one.state = 'stopping';
    one.stubborn ||= this.#rng.chance(0.05);
    const graceMs = one.stubborn ? STUBBORN_STOP_MS : this.#rng.between(5, this.#stopMaxMs);
    this.#in(one, graceMs, () => one.state === 'stopping' && this.#end(one, 'stopped'));
  }

  /**
   * What was being unpacked is not there; what has TERM ends by itself, unless it ignores that: nobody is left to kill
   * it.
   */
  daemonEnded(): void {
    this.listener = undefined;
    for (const [id, one] of this.running) {
      if (one.state === 'launching') this.running.delete(id);
      else if (one.state === 'stopping' && one.stubborn) one.state = one.everReady ? 'ready' : 'starting';
    }
  }

  /** The daemon knows that it is ready. */
  told(id: InstanceId): void {
    const one = this.running.get(id);
    if (one !== undefined) one.told = true;
  }

  crash(id: InstanceId, reason: string): void {
    const one = this.running.get(id);
    if (one !== undefined) this.#end(one, reason);
  }

  /** It serves no more until recoverMs have passed; the health check finds out either. */
  hang(id: InstanceId, recoverMs: number): void {
    const one = this.running.get(id);
    if (one === undefined || one.state !== 'ready') return;
    this.#lost(one);
    one.state = 'unhealthy';
    this.#in(one, UNHEALTHY_AFTER_MS, () => {
      if (one.state === 'unhealthy') this.#tell({ type: 'instanceUnhealthy', id, reason: 'does not answer' });
    });
    this.#in(one, recoverMs, () => one.state === 'unhealthy' && this.#becomeReady(one));
  }

  /** The machine is gone, and all that ran on it. */
  powerOff(): void {
    for (const one of this.running.values()) if (one.state === 'ready') this.#lost(one);
    this.running.clear();
  }

  adopt(): AdoptedInstance[] {
    const adopted: AdoptedInstance[] = [];
    for (const [id, { spec, port }] of this.running) {
      adopted.push({
        id,
        app: spec.app.id,
        process: spec.process,
        index: spec.index,
        release: spec.release.id,
        restartCount: spec.restartCount,
        memoryBytes: spec.memoryBytes,
        port,
        ...(spec.volumes === undefined ? {} : { volumes: spec.volumes }),
      });
    }
    return adopted;
  }

  /** The health checks of adopted instances begin anew. */
  checkAdopted(): void {
    for (const [id, one] of this.running) {
      this.#in(one, this.#rng.between(1, 60), () => {
        if (one.state === 'ready') this.#tell({ type: 'instanceReady', id });
      });
      const { timeoutMs } = one.spec.health;
      this.#in(one, timeoutMs, () => {
        if (one.state === 'starting') this.#end(one, `did not become healthy within ${timeoutMs} ms`);
      });
    }
  }

  memoryBytes(): number {
    let bytes = 0;
    for (const one of this.running.values()) bytes += one.spec.memoryBytes;
    return bytes;
  }

  readyOf(app: AppId): Running[] {
    return [...this.running.values()].filter((one) => one.spec.app.id === app && one.state === 'ready');
  }

  #becomeReady(one: Running): void {
    if (one.state === 'stopping' || one.state === 'ready') return;
    one.state = 'ready';
    one.told = false;
    one.everReady = true;
    one.readySinceMs = this.#clock.nowMs;
    this.#tell({ type: 'instanceReady', id: one.spec.id });
  }

  #end(one: Running, reason: string): void {
    if (one.state === 'ready') this.#lost(one);
    this.running.delete(one.spec.id);
    this.#tell({ type: 'instanceExited', id: one.spec.id, reason });
  }

  #tell(event: RuntimeEvent): void {
    this.listener?.(event);
  }

  /** Only while it still runs. */
  #in(one: Running, delayMs: number, run: () => void): void {
    this.#clock.in(delayMs, () => {
      if (this.running.get(one.spec.id) === one) run();
    });
  }
}
