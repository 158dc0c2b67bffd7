// /v1/nodes: list, drain, undrain, label, remove; and the data that a node would take with it.

import { type Context, Hono } from 'hono';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import { strandQuery } from '../data-validate.ts';
import { lifeStream } from '../life-stream.ts';
import { nodeNamed } from '../lookup.ts';
import { nodeShapes, secretsKnownToNodes } from '../shaping.ts';
import { beforeRemoval, expectNothingStranded, moveDataAway, movesFirst, strandedBy } from '../strands.ts';
import { jsonBody, labelsBody, queryOf } from '../validate.ts';

export function nodesRoutes({ service, log }: ApiContext) {
  const setDraining = async (c: Context<ApiEnv>, name: string, draining: boolean) => {
    const node = nodeNamed(service.view(), name);
    const { heldBy } = await service.write([{ change: 'setDraining', node: node.id, draining }], c.get('user').name);
    return { heldBy: heldBy.length };
  };
  return (
    new Hono<ApiEnv>()
      .get('/v1/nodes', requires('viewer'), (c) => c.json(nodeShapes(service.view(), service.observed())))
      .get('/v1/nodes/:name/data', requires('viewer'), async (c) =>
        c.json(await strandedBy(service, nodeNamed(service.view(), c.req.param('name')).id)),
      )
      .post('/v1/nodes/:name/drain', requires('admin'), queryOf(strandQuery), async (c) => {
        const { id, name } = nodeNamed(service.view(), c.req.param('name'));
        if (c.req.valid('query').strand !== 'true')
          await expectNothingStranded(service, id, movesFirst(`peer nodes drain ${name}`));
        return c.json(await setDraining(c, id, true));
      })
      /** Drains it, and moves its data to others first. */
      .post('/v1/nodes/:name/data/move', requires('admin'), (c) => {
        const { id } = nodeNamed(service.view(), c.req.param('name'));
        const by = c.get('user').name;
        const asked = { log, where: 'the data of a node', requestSignal: c.req.raw.signal };
        return lifeStream(asked, (onLine, signal) => moveDataAway({ service, by, onLine, signal }, id));
      })
      .post('/v1/nodes/:name/undrain', requires('admin'), async (c) =>
        c.json(await setDraining(c, c.req.param('name'), false)),
      )
      .post('/v1/nodes/:name/labels', requires('admin'), jsonBody(labelsBody), async (c) => {
        const node = nodeNamed(service.view(), c.req.param('name'));
        const { labels } = c.req.valid('json');
        const { heldBy } = await service.write([{ change: 'labelNode', node: node.id, labels }], c.get('user').name);
        return c.json({ heldBy: heldBy.length });
      })
      .delete('/v1/nodes/:name', requires('admin'), queryOf(strandQuery), async (c) => {
        const node = nodeNamed(service.view(), c.req.param('name'));
        // The last one is refused by the write.
        if (c.req.valid('query').strand !== 'true' && service.view().nodes.size > 1) {
          await expectNothingStranded(service, node.id, beforeRemoval(service, node.id));
        }
        const knew = secretsKnownToNodes(service.view());
        const { heldBy } = await service.write([{ change: 'removeNode', node: node.id }], c.get('user').name);
        return c.json({ heldBy: heldBy.length, knew });
      })
  );
}
