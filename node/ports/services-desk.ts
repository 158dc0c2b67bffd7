// Port of the services and volumes that this node runs and holds: what others ask of them, and the kinds of services
// that there are, as plain data. Types only; each says what it guarantees and how it fails.

import type { BindingId, ServiceId, VolumeId } from '../../crdt/ids.ts';
import type { Access, ServiceKind } from './services.ts';

/** What people read of a kind, and what a wish for a service is checked by. */
/** `hasLog`: its log of changes can be kept (`ServiceKind.archive`). */
export type KindInfo = Pick<ServiceKind, 'name' | 'tags' | 'plans' | 'least' | 'debianPackage'> & {
  /** Whether there is anything of it to be backed up. */
  keepsData: boolean;
  hasLog?: boolean;
};

/** What the node that runs a service knows of it alone. What could not be found out is missing. */
export type ServiceStatus = {
  /** Those whose access the engine has by now; the export's id among them. */
  bindings: BindingId[];
  /** Clients connected. */
  connections?: number;
  /** What its data takes. */
  usedBytes?: number;
  /** Of a service whose log of changes is kept. */
  log?: KeptLog;
};

/**
 * How far the log of a service is kept, Unix ms. `coveredMs`: all that was committed by then is held, also when it is
 * later than any piece, as nothing was written since; missing while there is no base, or something is missing after
 * it. `pieceMs`: of the last piece that was fetched.
 */
export type KeptLog = { coveredMs?: number; pieceMs?: number };

/** What the node that holds a volume knows of it alone. */
export type VolumeStatus = {
  /** Where its files are on that machine, for root. */
  path: string;
  usedBytes?: number;
};

/** People who connect to a service that runs here, each with an access of their own for as long as they do. */
export interface ServiceGuests {
  /** `whom`: their name. Fails with an error whose message is one line; then they are not let in. */
  admit(service: ServiceId, whom: string, signal: AbortSignal): Promise<Access>;
  /** Their connections end with their access. Harmless when they were not let in. */
  dismiss(service: ServiceId, user: string): void;
}

/** How clients of an exported service come in, and what they are to trust: its authority, as PEM, and of its key
 * SHA-256, in hex. */
export type ExportAccess = Access & { certificate: string; fingerprint: string };

/** `problem`: why the node cannot listen there. */
export type ExportDoorState = { isOpen: boolean; problem?: string };

/** Of this node alone. Fails with an error with a code when it does not run, or hold, what is asked for. */
export interface ServicesDesk {
  status(service: ServiceId): Promise<ServiceStatus>;
  volume(volume: VolumeId): Promise<VolumeStatus>;
  /** Whether the service's door is open at the address of this node, or could be. */
  exportDoor(service: ServiceId, listen: { host: string; port: number }): Promise<ExportDoorState>;
}
