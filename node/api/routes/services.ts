// /v1/services: list, look, create, configure, delete, and what runs of them. What is bound to them is in bindings.ts.

import { Hono } from 'hono';
import type { NamedChange } from '../../../crdt/change.ts';
import { asAppId } from '../../../crdt/ids.ts';
import type { ServiceView } from '../../../crdt/view.ts';
import { compareText } from '../../core/text.ts';
import { requireServiceAccess, serviceFor } from '../access.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import type { CreatedServiceShape } from '../data-shapes.ts';
import { boundApps, kindShapes, serviceShape, serviceSummaryShape } from '../data-shaping.ts';
import { configureServiceBody, confirmQuery, createServiceBody, provideBody } from '../data-validate.ts';
import { ApiError } from '../errors.ts';
import { findService } from '../lookup.ts';
import { newService, providedService, sealedCredentials } from '../new-service.ts';
import { nodeName } from '../placed-data.ts';
import { reconfigured } from '../reconfigure-service.ts';
import { rolloutStream } from '../rollout-stream.ts';
import { jsonBody, queryOf } from '../validate.ts';

/** None of a kind whose engine is not known here. */
const windowsOf = async ({ backups }: ApiContext['service'], { id, wal }: ServiceView) =>
  wal === true ? backups.windows(id).catch(() => []) : [];

export function servicesRoutes({ service, log }: ApiContext) {
  const known = () => ({ view: service.view(), observed: service.observed() });
  const write = async (changes: NamedChange[], by: string) => ({
    heldBy: (await service.write(changes, by)).heldBy.length,
  });
  const created = (change: Extract<NamedChange, { change: 'createService' }>, heldBy: number): CreatedServiceShape => ({
    name: change.name,
    id: change.service,
    kind: change.kind,
    version: change.version,
    plan: change.plan,
    node: change.volume === undefined ? null : nodeName(service.view(), change.volume.node),
    heldBy,
  });
  return (
    new Hono<ApiEnv>()
      .get('/v1/services', requires('viewer'), (c) => {
        const services = [...service.view().services.values()];
        services.sort((a, b) => compareText(a.name, b.name) || compareText(a.id, b.id));
        return c.json(services.map((one) => serviceSummaryShape(one, known())));
      })
      .get('/v1/services/kinds', requires('viewer'), (c) => c.json(kindShapes(service.kinds(), service.observed())))
      .post('/v1/services', requires('developer'), jsonBody(createServiceBody), async (c) => {
        const change = newService(service, c.req.valid('json'));
        const { heldBy } = await write([change], c.get('user').name);
        return c.json(created(change, heldBy), 201);
      })
      .get('/v1/services/:name', requires('viewer'), async (c) => {
        const asked = serviceFor(c, service.view(), 'status');
        const [status, backups, windows, door] = await Promise.all([
          service.serviceStatus(asked.id),
          service.backups.list(asked.id),
          windowsOf(service, asked),
          asked.export && service.exportDoor(asked.export.node, asked.id, asked.export),
        ]);
        const known = { ...serviceKnown(service), door, access: exportAccess(service, asked) };
        return c.json(serviceShape(asked, known, status, { backups, windows }));
      })
      .patch('/v1/services/:name', requires('developer'), jsonBody(configureServiceBody), async (c) => {
        const asked = serviceFor(c, service.view(), 'change');
        const { changes, restarts } = reconfigured(service, asked, c.req.valid('json'));
        return c.json({ ...(await write(changes, c.get('user').name)), restarts });
      })
      /** `confirm`: its name again, as its data goes with it. */
      .delete('/v1/services/:name', requires('developer'), queryOf(confirmQuery), async (c) => {
        const asked = serviceFor(c, service.view(), 'change');
        const { confirm } = c.req.valid('query');
        if (confirm !== asked.name && confirm !== asked.id) {
          throw new ApiError('bad_request', `confirm: should be ${asked.name}: its data is deleted with it`);
        }
        const apps = boundApps(asked, service.view());
        if (apps.length > 0) {
          const unbind = `peer unbind ${asked.name} ${apps[0]}`;
          throw new ApiError('service_bound', `${asked.name} is bound to ${apps.join(', ')}: ${unbind} first`);
        }
        return c.json(await write([{ change: 'deleteService', service: asked.id }], c.get('user').name));
      })
      /** Makes one of that name, or gives it other credentials. `apps`: those that are to be restarted to get them. */
      .put('/v1/services/:name', requires('developer'), jsonBody(provideBody), async (c) => {
        const { credentials } = c.req.valid('json');
        const by = c.get('user').name;
        const asked = findService(service.view(), c.req.param('name'));
        if (asked === undefined) {
          const change = providedService(service, c.req.param('name'), credentials);
          const { heldBy } = await write([change], by);
          return c.json({ ...created(change, heldBy), apps: [] as string[] });
        }
        requireServiceAccess(service.view(), c.get('user'), asked, 'change');
        if (asked.volume !== undefined) throw isManaged(asked);
        const secret = sealedCredentials(service, asked.id, credentials);
        const { heldBy } = await write([{ change: 'configureService', service: asked.id, secret }], by);
        const { name, id, kind, version, plan } = asked;
        const apps = boundApps(asked, service.view());
        return c.json({ name, id: id as string, kind, version, plan, node: null, heldBy, apps });
      })
      .post('/v1/services/:name/stop', requires('developer'), async (c) => {
        const asked = running(serviceFor(c, service.view(), 'change'));
        return c.json(
          await write([{ change: 'setServiceStopped', service: asked, stopped: true }], c.get('user').name),
        );
      })
      .post('/v1/services/:name/start', requires('developer'), async (c) => {
        const asked = running(serviceFor(c, service.view(), 'change'));
        return c.json(
          await write([{ change: 'setServiceStopped', service: asked, stopped: false }], c.get('user').name),
        );
      })
      .post('/v1/services/:name/restart', requires('developer'), async (c) => {
        const asked = running(serviceFor(c, service.view(), 'change'));
        return c.json(await write([{ change: 'restartService', service: asked }], c.get('user').name));
      })
      /** As an app's roll-out: until it runs as it was asked to. */
      .get('/v1/services/:name/rollout', requires('viewer'), (c) => {
        const asked = running(serviceFor(c, service.view(), 'read'));
        const release = service.view().workloads.get(asAppId(asked))?.release?.id;
        // Of what it is to run, a crash from before somebody looked counts too.
        return rolloutStream({ service, log }, asAppId(asked), { release, replaced: undefined }, c.req.raw.signal);
      })
  );
}

/** Undefined where it is not exported, or this node lacks the key to tell. */
function exportAccess(service: ApiContext['service'], { id, export: exported }: ServiceView) {
  if (exported === undefined) return undefined;
  try {
    return service.exportAccess(id);
  } catch {
    return undefined;
  }
}

const serviceKnown = (service: ApiContext['service']) => ({
  view: service.view(),
  observed: service.observed(),
  explain: service.explain.bind(service),
  kinds: () => service.kinds(),
});

/** Its id. Fails when there is nothing to run. */
function running({ id, name, volume }: ServiceView): ServiceView['id'] {
  if (volume !== undefined) return id;
  throw new ApiError('service_provided', `${name} was provided: it runs elsewhere, and is not started or stopped here`);
}

const isManaged = ({ name, kind }: ServiceView): ApiError =>
  new ApiError(
    'service_exists',
    `${name} is a ${kind} of this cluster, which has its own credentials: choose another name`,
  );
