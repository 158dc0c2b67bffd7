// What services are opened to others than bound apps: their doors on this node, and what a client has to trust. Pure,
// but for `open`, which opens what is sealed.

import type { NodeId } from '../../crdt/ids.ts';
import { serviceContext } from '../../crdt/sealed.ts';
import type { DesiredView, ServiceExportView, ServiceView } from '../../crdt/view.ts';
import { serviceHost } from '../core/service-address.ts';
import { authorityFingerprint, serverCertificate, serviceAuthority } from '../identity/service-certificate.ts';
import type { ServiceDoor } from '../ports/router.ts';
import type { PlanName, ServiceKind } from '../ports/services.ts';
import type { ExportAccess } from '../ports/services-desk.ts';
import { accessOf } from './binding-environment.ts';

/** Of the service's clients: what strangers do who cannot even log in must leave room for its apps. */
const CONNECTIONS_SHARE = 0.5;

type Options = {
  view: Pick<DesiredView, 'services'>;
  self: NodeId;
  kindOf: (name: string) => ServiceKind | undefined;
  /** Throws what cannot be opened. */
  open: (context: string, sealed: string) => string;
  /** Of one whose secret cannot be opened here (yet): it is left out. */
  failed: (service: ServiceView, error: unknown) => void;
};

/** Those of this node, with certificates of their own where the router needs one. */
export function exportedDoors({ view, self, kindOf, open, failed }: Options): ServiceDoor[] {
  const doors: ServiceDoor[] = [];
  for (const service of view.services.values()) {
    const kind = kindOf(service.kind);
    if (service.export?.node !== self || kind === undefined) continue;
    try {
      doors.push(doorOf(service, service.export, kind, open));
    } catch (error) {
      failed(service, error);
    }
  }
  return doors;
}

function doorOf(
  service: ServiceView,
  { host, port }: ServiceExportView,
  { plans, startsTls }: ServiceKind,
  open: Options['open'],
): ServiceDoor {
  const plan = Object.hasOwn(plans, service.plan) ? plans[service.plan as PlanName] : plans.small;
  const connectionsMax = Math.max(1, Math.floor(plan.connections * CONNECTIONS_SHARE));
  const door = { service: service.id, listen: { host, port } };
  if (startsTls !== undefined) return { ...door, exported: { connectionsMax, startsTls } };
  const names: [string, string] = [serviceHost(service.name), host];
  const certificate = serverCertificate(secretOf(service, open), { service: service.id, names });
  return { ...door, exported: { connectionsMax, certificate } };
}

const secretOf = ({ id, secret }: ServiceView, open: Options['open']): string => open(serviceContext(id), secret);

class NotExported extends Error {
  readonly code = 'not_exported';
}

/** Of a service that is exported. Throws NotExported, and what `open` throws. */
export function exportAccess(service: ServiceView | undefined, open: Options['open']): ExportAccess {
  if (service?.export === undefined) throw new NotExported('the service is not exported');
  const secret = secretOf(service, open);
  return {
    ...accessOf(service, service.export, open),
    certificate: serviceAuthority(secret, service.id),
    fingerprint: authorityFingerprint(secret, service.id),
  };
}
