// Port of service kinds: what Peer has to know of an engine to run it, bind apps to it, back it up and restore it.
// Types only. A kind is data and pure functions: it names programs, files and commands; the runtime runs them in the
// sandbox of the service's instance, where its volume is /data, and node/services/ decides when.

import type { ServiceId } from '../../crdt/ids.ts';
import type { ServiceView } from '../../crdt/view.ts';
import type { InstanceSpec } from '../core/types.ts';
import type { StartsTls } from './router.ts';

export type PlanName = 'small' | 'medium' | 'large';

export type ServicePlan = {
  readonly memoryBytes: number;
  readonly storageBytes: number;
  /** Clients at once, of all bindings together. */
  readonly connections: number;
};

/** An engine as this machine has it. `programs`: absolute paths by the kind's own names for them. */
export type Engine = { readonly version: string; readonly programs: Readonly<Record<string, string>> };

/** Looks at the machine for a kind. Never rejects: what is not there is undefined. */
export interface Machine {
  /** Paths that exist, of those a pattern with `*` in single parts of it names; sorted. */
  find(pattern: string): Promise<string[]>;
  /** First line of what the program prints, within two seconds. */
  firstLine(argv: readonly string[]): Promise<string | undefined>;
}

/** What a kind knows when it makes files and commands. */
export type ServiceContext = {
  readonly service: Pick<ServiceView, 'id' | 'name' | 'version' | 'memoryBytes' | 'storageBytes' | 'wal'>;
  readonly plan: ServicePlan;
  readonly engine: Engine;
  /** Password of the engine's own administrator, which Peer alone uses. Letters and digits. */
  readonly adminPassword: string;
  /** A new certificate of the service's own authority, for its engine. */
  certificate(): { keyPem: string; certPem: string };
};

/** How the engine is run. Everything lies below /data, where the volume is. */
export type ServiceProgram = {
  /**
   * Run as the instance's command by bash, which becomes the engine: the signal to stop is for that process alone. The
   * first run makes the data there; one that was cut off half way is begun again, and never taken for done. Ends with
   * status 78 and a line that says why when the volume holds what it does not open: another start does not help.
   */
  readonly command: string;
  readonly env: Readonly<Record<string, string>>;
  /** Written before every start, absolute, right below /data, readable by the service alone. */
  readonly files: Readonly<Record<string, string>>;
  /** That ends it in order, with clients connected. */
  readonly stopSignal: 'SIGTERM' | 'SIGINT' | 'SIGQUIT';
  readonly stopGraceMs: number;
};

/** A command within the service's instance. Secrets go in through env or stdin, never argv. */
export type ServiceCommand = {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
};

/** A service as it is launched. */
export type LaunchedService = ServiceProgram & {
  /** Run again and again: whether clients are answered. */
  readonly probe: ServiceCommand;
  readonly port: number;
};

/** What a runtime asks of the services that it is to run. */
export interface ServicePrograms {
  /** Of one that is about to start. Fails with an error whose message is one line for people. */
  programOf(spec: InstanceSpec): Promise<LaunchedService>;
  /** The probe of one that an earlier daemon launched; undefined when it is not known (any more). */
  probeOf(service: ServiceId): Promise<ServiceCommand | undefined>;
}

/** One app's own way in. `user` and `password`: letters and digits. */
export type Access = {
  readonly user: string;
  readonly password: string;
  /** `databaseName` of the service's name (node/services/names.ts); kinds without databases do not look at it. */
  readonly database: string;
};

/** Where clients reach it. */
export type Endpoint = { readonly host: string; readonly port: number };

/**
 * A log of all changes, kept beside backups: of a base (the whole data, as files) and all pieces of the log after it,
 * data of any moment since can be made. Pieces have names, and an order.
 */
export type ServiceArchive = {
  /**
   * Closes the piece that is being written: whatever was committed before this began is in a closed one then. Prints
   * the names of those that wait to be fetched, oldest first, one a line; `gap` before them when some that nobody
   * fetched were given up for want of room.
   */
  seal(context: ServiceContext): ServiceCommand;
  /** Writes the pieces to stdout. */
  pack(context: ServiceContext, names: readonly string[]): ServiceCommand;
  /** They were fetched. Repeating it is harmless. */
  drop(context: ServiceContext, names: readonly string[]): ServiceCommand;
  /** Prints the name of the piece that is being written. */
  position(context: ServiceContext): ServiceCommand;
  /** Writes a base to stdout; it needs all pieces from the one that was being written when it began. */
  base(context: ServiceContext): ServiceCommand;
  /** Each reads from stdin what `base` and `pack` wrote, in an instance that is there for nothing else. */
  unpackBase(context: ServiceContext): ServiceCommand;
  unpackLog(context: ServiceContext): ServiceCommand;
  /** Of what was unpacked makes the data of that moment (Unix ms), and writes a backup of it to stdout. */
  recover(context: ServiceContext, atMs: number): ServiceCommand;
  /** The name of the piece after this one. */
  next(name: string): string;
  isName(text: string): boolean;
};

export type ServiceKind = {
  /** `postgres`. */
  readonly name: string;
  /** In VCAP_SERVICES. */
  readonly tags: readonly string[];
  /** The engine's standard port, which it listens on, on all addresses. */
  readonly port: number;
  readonly plans: Readonly<Record<PlanName, ServicePlan>>;
  /** With less than this the engine does not start, or not again when it has run for a while. */
  readonly least: Readonly<Pick<ServicePlan, 'memoryBytes' | 'storageBytes'>>;
  /** What to install where it is missing, for people: Debian's package. */
  readonly debianPackage: string;
  /**
   * The protocol begins in clear, and TLS is asked for in it: the engine does that, with the context's certificate.
   * Undefined: whoever opens it to others ends TLS in front of it.
   */
  readonly startsTls?: StartsTls;
  /** Engines that the machine has, newest first. */
  find(machine: Machine): Promise<Engine[]>;
  program(context: ServiceContext): ServiceProgram;
  /** Exits 0 once clients are answered; a second at most. */
  probe(context: ServiceContext): ServiceCommand;
  /** Prints the names of all accesses that there are, one a line. */
  accesses(context: ServiceContext): ServiceCommand;
  /** Makes the access, or sets its password. Repeating it is harmless. */
  grant(context: ServiceContext, access: Access): ServiceCommand;
  /** Takes it away and ends its connections; what it made stays. Repeating it is harmless. */
  revoke(context: ServiceContext, user: string): ServiceCommand;
  /** Of VCAP_SERVICES, in the shape that Cloud Foundry's brokers for the engine give. */
  credentials(access: Access, endpoint: Endpoint): Record<string, unknown>;
  /** Variables by which client libraries find it: DATABASE_URL, PGHOST … */
  environment(access: Access, endpoint: Endpoint): Record<string, string>;
  /** Clients connected, and bytes of data: prints two numbers on one line. */
  usage(context: ServiceContext): ServiceCommand;
  /** Writes a backup to stdout. Undefined: a kind that keeps nothing. */
  backup?(context: ServiceContext): ServiceCommand;
  /**
   * Reads one from stdin, in the place of what the instance holds; accesses stay or are the steward's to make again.
   * Exits other than 0, with a line that says why and all as it was, when it is empty, cut, damaged or foreign.
   */
  restore?(context: ServiceContext): ServiceCommand;
  /** Exits 0 when what was restored is whole; prints what was looked at, for people. */
  check?(context: ServiceContext): ServiceCommand;
  /** Undefined: there is no log that such could be made of. */
  readonly archive?: ServiceArchive;
  /** First bytes that every backup begins with, where the format has such. */
  readonly backupMagic?: Uint8Array;
};
