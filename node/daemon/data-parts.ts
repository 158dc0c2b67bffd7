// What a node needs beside its runtime to run services. Until it has them it says so to whoever asks.

import type { KindInfo, ServicesDesk } from '../ports/services-desk.ts';

export type DataParts = { desk: ServicesDesk; kinds: readonly KindInfo[] };

class NoServicesError extends Error {
  readonly code = 'no_services';
  constructor() {
    super('this node runs no services: ask another one');
  }
}

/** Of a node that knows no kind of service. Everything asked of it fails with a clear error. */
export function withoutServices(): DataParts {
  const refuse = (): never => {
    throw new NoServicesError();
  };
  return {
    desk: { status: async () => refuse(), volume: async () => refuse() },
    kinds: [],
  };
}
