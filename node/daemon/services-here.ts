// What others ask of the services and volumes of this node, answered by the parts that know.

import { once } from 'node:events';
import { createServer } from 'node:net';
import type { NodeId, ServiceId, VolumeId } from '../../crdt/ids.ts';
import type { DesiredView, ServiceView } from '../../crdt/view.ts';
import type { ExportDoorState, KeptLog, ServiceStatus, ServicesDesk, VolumeStatus } from '../ports/services-desk.ts';
import type { Steward } from '../services/steward.ts';
import type { VolumeStore } from '../volumes/store.ts';

class NotHereError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export type ServicesHereParts = {
  view: () => DesiredView;
  self: NodeId;
  steward: Steward;
  volumes: Pick<VolumeStore, 'placeOf' | 'usedBytes'>;
  /** How far the log of a service that runs here is kept. */
  keptLog: (service: ServiceView) => KeptLog;
  /** Whether the router has the service's door to others open. */
  isExported: (service: ServiceId) => boolean;
};

/** Listens there for a moment. */
async function listenProblem({ host, port }: { host: string; port: number }): Promise<string | undefined> {
  const server = createServer();
  try {
    server.listen({ host, port, exclusive: true });
    await once(server, 'listening');
    return undefined;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    switch (code) {
      case 'EADDRINUSE':
        return `port ${port} is in use there: choose another`;
      case 'EADDRNOTAVAIL':
      case 'EINVAL':
        return `it has no address ${host}: name one of its own, or 0.0.0.0, or another node with --node`;
      case 'EACCES':
        return `it may not use port ${port}: choose a higher one`;
      default:
        return message.slice(0, PROBLEM_LENGTH_MAX);
    }
  } finally {
    server.close();
  }
}

const PROBLEM_LENGTH_MAX = 200;

export class ServicesHere implements ServicesDesk {
  readonly #parts: ServicesHereParts;

  constructor(parts: ServicesHereParts) {
    this.#parts = parts;
  }

  async status(id: ServiceId): Promise<ServiceStatus> {
    const { view, steward, volumes, keptLog } = this.#parts;
    const service = view().services.get(id);
    const bindings = steward.granted(id);
    if (service?.volume === undefined || bindings === undefined) {
      throw new NotHereError('service_not_ready', 'the service does not run here now');
    }
    const usage = await steward.usage(id);
    const usedBytes = volumes.usedBytes(service.volume) ?? usage?.dataBytes;
    return {
      bindings,
      ...(usage === undefined ? {} : { connections: usage.connections }),
      ...(usedBytes === undefined ? {} : { usedBytes }),
      ...(service.wal === true ? { log: keptLog(service) } : {}),
    };
  }

  async exportDoor(service: ServiceId, listen: { host: string; port: number }): Promise<ExportDoorState> {
    if (this.#parts.isExported(service)) return { isOpen: true };
    const problem = await listenProblem(listen);
    return { isOpen: false, ...(problem === undefined ? {} : { problem }) };
  }

  async volume(id: VolumeId): Promise<VolumeStatus> {
    const { view, self, volumes } = this.#parts;
    const volume = view().volumes.get(id);
    if (volume === undefined || volume.node !== self) {
      throw new NotHereError('volume_missing', 'the volume is not on this node');
    }
    const usedBytes = volumes.usedBytes(volume);
    return { path: volumes.placeOf(volume).data, ...(usedBytes === undefined ? {} : { usedBytes }) };
  }
}
