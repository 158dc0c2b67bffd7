// What is known of a service or a volume on the node that its data is on alone, from any node: asks that node, when
// somebody wants to know. Nothing of it is gossiped, and nothing kept.

import type { NodeId, ServiceId, VolumeId } from '../../crdt/ids.ts';
import type { DesiredView } from '../../crdt/view.ts';
import type { Log } from '../lib/log.ts';
import { EXPORT_DOOR, SERVICE_STATUS, VOLUME_STATUS } from '../ports/data-methods.ts';
import type { Gossip } from '../ports/gossip.ts';
import type { ExportDoorState, ServiceStatus, ServicesDesk, VolumeStatus } from '../ports/services-desk.ts';

export type DataReaderParts = {
  self: NodeId;
  gossip: Pick<Gossip, 'handle' | 'request'>;
  desk: ServicesDesk;
  view(): DesiredView;
  /** Whether anything is asked of the node at all. */
  isThere(node: NodeId): boolean;
  log: Log;
};

export class DataReader {
  readonly #parts: DataReaderParts;

  constructor(parts: DataReaderParts) {
    this.#parts = parts;
    parts.gossip.handle(SERVICE_STATUS, ({ service }) => parts.desk.status(service));
    parts.gossip.handle(EXPORT_DOOR, ({ service, ...listen }) => parts.desk.exportDoor(service, listen));
    parts.gossip.handle(VOLUME_STATUS, ({ volume }) => parts.desk.volume(volume));
  }

  serviceStatus(service: ServiceId): Promise<ServiceStatus | undefined> {
    const { desk, gossip, view } = this.#parts;
    return this.#ask(view().services.get(service)?.volume?.node, {
      here: () => desk.status(service),
      there: (node) => gossip.request(node, SERVICE_STATUS, { service }),
    });
  }

  volumeStatus(volume: VolumeId): Promise<VolumeStatus | undefined> {
    const { desk, gossip, view } = this.#parts;
    return this.#ask(view().volumes.get(volume)?.node, {
      here: () => desk.volume(volume),
      there: (node) => gossip.request(node, VOLUME_STATUS, { volume }),
    });
  }

  /** Asked of the node itself; undefined when it does not answer. */
  exportDoor(
    node: NodeId,
    service: ServiceId,
    { host, port }: { host: string; port: number },
  ): Promise<ExportDoorState | undefined> {
    const { desk, gossip } = this.#parts;
    return this.#ask(node, {
      here: () => desk.exportDoor(service, { host, port }),
      there: (asked) => gossip.request(asked, EXPORT_DOOR, { service, host, port }),
    });
  }

  async #ask<T>(
    node: NodeId | undefined,
    { here, there }: { here: () => Promise<T>; there: (node: NodeId) => Promise<T> },
  ): Promise<T | undefined> {
    const { self, isThere, log } = this.#parts;
    if (node === undefined || (node !== self && !isThere(node))) return undefined;
    try {
      return await (node === self ? here() : there(node));
    } catch (error) {
      log.debug('data.not_answered', { node, error });
      return undefined;
    }
  }
}
