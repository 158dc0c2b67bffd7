// What this node answers of its services and volumes when it, or another, is asked (port ServicesDesk), and the kinds
// of services that it knows.

import type { DesiredView } from '../../crdt/view.ts';
import type { KindInfo, ServicesDesk } from '../ports/services-desk.ts';
import { VolumeError } from '../volumes/errors.ts';
import type { VolumeStore } from '../volumes/store.ts';

export type DataParts = { desk: ServicesDesk; kinds: readonly KindInfo[] };

class NoServicesError extends Error {
  readonly code = 'no_services';
  constructor() {
    super('this node runs no services: ask another one');
  }
}

/** Of a node that knows no kind of service yet: it says so to whoever asks for one. */
export function makeDataParts(parts: {
  volumes: Pick<VolumeStore, 'placeOf' | 'list'>;
  view: () => DesiredView;
}): DataParts {
  const { volumes, view } = parts;
  return {
    kinds: [],
    desk: {
      status: async () => {
        throw new NoServicesError();
      },
      volume: async (id) => {
        const lineage = view().volumes.get(id)?.lineage;
        if (lineage === undefined) throw new VolumeError('volume_missing', `there is no volume ${id}`);
        const { data } = volumes.placeOf({ id, lineage });
        const usedBytes = volumes.list().find((one) => one.id === id && one.lineage === lineage)?.usedBytes;
        return { path: data, ...(usedBytes === undefined ? {} : { usedBytes }) };
      },
    },
  };
}
