// /v1/nodes: list, drain, undrain, label, remove.

import { type Context, Hono } from 'hono';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import { nodeNamed } from '../lookup.ts';
import { nodeShapes, secretsKnownToNodes } from '../shaping.ts';
import { jsonBody, labelsBody } from '../validate.ts';

export function nodesRoutes({ service }: ApiContext) {
  const setDraining = async (c: Context<ApiEnv>, name: string, draining: boolean) => {
    const node = nodeNamed(service.view(), name);
    const { heldBy } = await service.write([{ change: 'setDraining', node: node.id, draining }], c.get('user').name);
    return { heldBy: heldBy.length };
  };
  return new Hono<ApiEnv>()
    .get('/v1/nodes', requires('viewer'), (c) => c.json(nodeShapes(service.view(), service.observed())))
    .post('/v1/nodes/:name/drain', requires('admin'), async (c) =>
      c.json(await setDraining(c, c.req.param('name'), true)),
    )
    .post('/v1/nodes/:name/undrain', requires('admin'), async (c) =>
      c.json(await setDraining(c, c.req.param('name'), false)),
    )
    .post('/v1/nodes/:name/labels', requires('admin'), jsonBody(labelsBody), async (c) => {
      const node = nodeNamed(service.view(), c.req.param('name'));
      const { labels } = c.req.valid('json');
      const { heldBy } = await service.write([{ change: 'labelNode', node: node.id, labels }], c.get('user').name);
      return c.json({ heldBy: heldBy.length });
    })
    .delete('/v1/nodes/:name', requires('admin'), async (c) => {
      const node = nodeNamed(service.view(), c.req.param('name'));
      const knew = secretsKnownToNodes(service.view());
      const { heldBy } = await service.write([{ change: 'removeNode', node: node.id }], c.get('user').name);
      return c.json({ heldBy: heldBy.length, knew });
    });
}
