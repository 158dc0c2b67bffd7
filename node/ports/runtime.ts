// Ports of the runtime: what runs instances, tells what they use, and handles the images of a container engine. Types
// only; each says what it guarantees and how it fails.

import type { AppId, InstanceId, ServiceId } from '../../crdt/ids.ts';
import type { Resource } from '../core/pressure.ts';
import type { AdoptedInstance, InstanceSpec } from '../core/types.ts';
import type { StagedDroplet } from './staging.ts';

export type RuntimeEvent =
  /** `host`: as in LocalUpstream. Again when it is found to listen on another port. */
  | { type: 'instanceLaunched'; id: InstanceId; port: number | undefined; host?: string }
  | { type: 'instanceReady'; id: InstanceId }
  | { type: 'instanceUnhealthy'; id: InstanceId; reason: string }
  /** `lacks`: what the node ran out of, when that may be why it did not start. */
  | { type: 'instanceExited'; id: InstanceId; reason: string; lacks?: Resource };

/**
 * Runs instances. `start` and `stop` return at once; what became of them arrives as events, in order per instance:
 * launched, then any of ready/unhealthy (and launched, where it is found elsewhere), then exactly one exited. An
 * instance that is not healthy within its health timeout is ended by the runtime and reported as exited with the
 * reason.
 */
export interface Runtime {
  readonly kind: 'process' | 'docker';
  readonly stacks: readonly string[];
  /** Undefined: it runs droplets only. */
  readonly images?: Images;
  onEvent(listener: (event: RuntimeEvent) => void): void;
  /**
   * Finds what an earlier daemon on this data directory left running, resumes its logs and health checks, removes
   * leftovers of the rest. Called once, before start.
   */
  adopt(): Promise<AdoptedInstance[]>;
  /** The droplet must be held locally. */
  start(spec: InstanceSpec): void;
  /** TERM, STOP_GRACE_MS, KILL of everything the instance started. Harmless when it is unknown or already stopping. */
  stop(id: InstanceId, reason: string): void;
  /**
   * Says which of the machine's ports instances reach; none before that. Missing where their networks are not of this
   * runtime's making.
   */
  setMachinePorts?(ports: MachinePorts): Promise<void>;
  /**
   * Says which apps reach which services, and where those are; all of it each time. What an earlier daemon had said
   * holds until the first time. Open connections of apps that are no longer named, and those that lead to where a
   * service no longer is, end at once. Missing where instances share the machine's network.
   */
  setServiceCalls?(calls: readonly ServiceCall[]): Promise<void>;
  /**
   * Resolves when watchers are closed; with keepInstances they run on, to be adopted; otherwise all have been stopped.
   */
  close(options: { keepInstances: boolean }): Promise<void>;
}

/** TCP ports of this machine: what instances reach of it, and what they do not even where its address is allowed. */
export type MachinePorts = { open: readonly number[]; closed: readonly number[] };

/** A way from apps on this node to a service. */
export type ServiceCall = {
  service: ServiceId;
  /** What they connect to. */
  address: string;
  port: number;
  /** Those bound to it: their instances and tasks, also ones that start later, and nobody else. */
  apps: readonly AppId[];
  /** Where on this node it leads: to the service's instance, or to the router's door for it. */
  to: { host: string; port: number };
};

/** What an instance uses now. What could not be measured is missing. */
export type InstanceUsage = {
  id: InstanceId;
  /** Without what the kernel would drop of cached files. */
  memoryBytes?: number;
  /** Processors kept busy since the look before, a quarter of a second ago or up to a minute: 1 is one of them. */
  cpu?: number;
  diskBytes?: number;
};

/** The part of a runtime that tells what its instances use. */
export interface UsageMeter {
  /** Of the app's instances that run here. Costs nothing while nobody asks, and no more when many do. */
  usage(app: AppId): Promise<InstanceUsage[]>;
}

/** An instance that is held still. */
export type Frozen = {
  /** Harmless to repeat. Answers whether it was held until now: it is let go after ten seconds by itself. */
  thaw(): Promise<boolean>;
};

/** The part of a runtime that holds instances, and tasks, still. */
export interface Freezer {
  /** All that runs in it. It goes on when the daemon ends. Fails with `not_running`, `not_frozen`. */
  freeze(id: InstanceId): Promise<Frozen>;
}

/** Images of the node's container engine, as releases: each is a blob with its archive. Fail with RuntimeError. */
export interface Images {
  /** One that the engine holds. */
  pack(request: { ref: string; signal: AbortSignal }): Promise<StagedDroplet>;
  /** From the Dockerfile of a folder; `source`: its tar, compressed or not; not trusted. */
  build(request: {
    app: AppId;
    source: AsyncIterable<Uint8Array>;
    onLine: (text: string) => void;
    signal: AbortSignal;
    timeoutMs?: number;
  }): Promise<StagedDroplet>;
}
