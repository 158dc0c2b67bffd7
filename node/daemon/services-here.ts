// What others ask of the services and volumes of this node, answered by the parts that know.

import type { NodeId, ServiceId, VolumeId } from '../../crdt/ids.ts';
import type { DesiredView } from '../../crdt/view.ts';
import type { ServiceStatus, ServicesDesk, VolumeStatus } from '../ports/services-desk.ts';
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
};

export class ServicesHere implements ServicesDesk {
  readonly #parts: ServicesHereParts;

  constructor(parts: ServicesHereParts) {
    this.#parts = parts;
  }

  async status(id: ServiceId): Promise<ServiceStatus> {
    const { view, steward, volumes } = this.#parts;
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
    };
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
