// /v1/services/:name/export: opens a service to whoever reaches an address of a node, with TLS and credentials of its
// own, and closes it.

import { randomUUID } from 'node:crypto';
import { Hono } from 'hono';
import { asBindingId } from '../../../crdt/ids.ts';
import { bindingContext } from '../../../crdt/sealed.ts';
import type { ServiceView } from '../../../crdt/view.ts';
import { newPassword } from '../../identity/passwords.ts';
import { formatHostPort } from '../../lib/host-port.ts';
import { serviceFor } from '../access.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import type { ExportedShape } from '../data-shapes.ts';
import { exportBody } from '../data-validate.ts';
import { ApiError } from '../errors.ts';
import { untilGranted } from '../granted.ts';
import { nodeNamed } from '../lookup.ts';
import { nodeName } from '../placed-data.ts';
import { jsonBody } from '../validate.ts';

/** Less than a client waits for an answer. */
const GRANT_WAIT_MS = 12_000;
const DOOR_LOOKS_MAX = 30;
const DOOR_LOOK_MS = 100;

export function exportsRoutes({ service }: ApiContext) {
  return (
    new Hono<ApiEnv>()
      /** The only answer that holds its password. */
      .post('/v1/services/:name/export', requires('developer'), jsonBody(exportBody), async (c) => {
        const asked = running(serviceFor(c, service.view(), 'change'));
        const { host, port, node: wanted } = c.req.valid('json');
        const node = wanted === undefined ? asked.volume.node : nodeNamed(service.view(), wanted).id;
        // One that is open already is refused by the write.
        if (asked.export === undefined) await expectFree(service, asked, { node, host, port });
        const id = asBindingId(randomUUID());
        const secret = service.secrets.seal(bindingContext(id), newPassword());
        const change = { change: 'exportService' as const, service: asked.id, export: id, node, host, port, secret };
        const { heldBy } = await service.write([change], c.get('user').name);
        const question = { service: asked.id, binding: id, timeoutMs: GRANT_WAIT_MS, signal: c.req.raw.signal };
        const warning =
          (await untilGranted(service, question)) ?? (await untilOpen(service, asked, { node, host, port }));
        const answer: ExportedShape = {
          service: asked.name,
          kind: asked.kind,
          node: nodeName(service.view(), node),
          ...{ host, port },
          ...service.exportAccess(asked.id),
          heldBy: heldBy.length,
          warning: warning ?? null,
        };
        return c.json(answer, 201);
      })
      /** Its credentials end, and connections with them. */
      .delete('/v1/services/:name/export', requires('developer'), async (c) => {
        const asked = running(serviceFor(c, service.view(), 'change'));
        const { heldBy } = await service.write([{ change: 'unexportService', service: asked.id }], c.get('user').name);
        return c.json({ service: asked.name, exported: false, heldBy: heldBy.length });
      })
  );
}

type Where = { node: NonNullable<ServiceView['export']>['node']; host: string; port: number };

/** Before anything is written: a door that cannot be opened would be one more thing to take back. */
async function expectFree(service: ApiContext['service'], { id }: ServiceView, { node, ...listen }: Where) {
  const name = nodeName(service.view(), node);
  const state = await service.exportDoor(node, id, listen);
  if (state === undefined)
    throw new ApiError('unreachable', `${name} does not answer, so nothing was opened: try again`);
  if (state.problem === undefined) return;
  throw new ApiError('export_failed', `${name} cannot listen at ${formatHostPort(listen)}: ${state.problem}`);
}

async function untilOpen(service: ApiContext['service'], { id, name }: ServiceView, { node, ...listen }: Where) {
  for (let looks = 0; looks < DOOR_LOOKS_MAX; looks++) {
    if ((await service.exportDoor(node, id, listen))?.isOpen === true) return undefined;
    await new Promise((resolve) => setTimeout(resolve, DOOR_LOOK_MS));
  }
  return `${nodeName(service.view(), node)} has not opened ${formatHostPort(listen)} yet: peer service status ${name}`;
}

function running(service: ServiceView): ServiceView & { volume: NonNullable<ServiceView['volume']> } {
  const { name, volume } = service;
  if (volume !== undefined) return { ...service, volume };
  throw new ApiError('service_provided', `${name} was provided: it runs elsewhere, where others reach it already`);
}
