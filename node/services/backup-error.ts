// Why a backup could not be taken, kept or put back.

import type { ServiceId } from '../../crdt/ids.ts';
import type { DesiredView, ServiceView } from '../../crdt/view.ts';

/** `code`: as the port says. */
export class BackupError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** Fails with BackupError `service_unknown`. */
export function serviceIn({ services }: Pick<DesiredView, 'services'>, id: ServiceId): ServiceView {
  const service = services.get(id);
  if (service === undefined) throw new BackupError('service_unknown', 'the service was deleted; see peer services');
  return service;
}
