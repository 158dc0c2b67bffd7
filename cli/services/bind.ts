// Binding an app to a service, and the end of it: the service's node makes the access, and the app is restarted.

import type { AccessEvent } from '../../node/api/stream-events.ts';
import { answer, type Client } from '../client.ts';
import { type Context, flagOption, textOption } from '../context.ts';
import { CliError } from '../errors.ts';
import type { Output } from '../output.ts';
import { followRollout } from '../rollout.ts';
import { rolloutText } from '../rollout-result.ts';
import { parseName, parseNameOrId } from '../values.ts';

type Given = { service: string | undefined; app: string | undefined };

export async function bind({ service, app }: Given, { options, client, output }: Context): Promise<void> {
  const name = parseNameOrId(service!, 'service');
  const param = { name };
  const prefix = textOption(options, 'as');
  const json = {
    app: parseName(app!, 'app'),
    ...(prefix === undefined ? {} : { prefix }),
    ...(flagOption(options, 'rotate') ? { rotate: true } : {}),
  };
  const connected = await client();
  const bound = await answer(connected.v1.services[':name'].bind.$post({ param, json }));
  const what = { service: bound.service, app: bound.app, prefix: bound.prefix, rotated: bound.rotated };
  const said = bound.rotated ? `${bound.app} has new credentials of` : `${bound.app} is bound to`;
  if (options.wait === false) return output.result({ ...what, granted: null }, () => `${said} ${bound.service}`);
  const granted = await untilGranted(connected, output, name, bound.binding);
  const text = await restarted(connected, output, bound.app);
  output.result({ ...what, granted }, () => `${said} ${bound.service}; ${text}`);
}

export async function unbind({ service, app }: Given, { options, client, output }: Context): Promise<void> {
  const param = { name: parseNameOrId(service!, 'service') };
  const connected = await client();
  const json = { app: parseName(app!, 'app') };
  const done = await answer(connected.v1.services[':name'].unbind.$post({ param, json }));
  const text = options.wait === false ? '' : `; ${await restarted(connected, output, done.app)}`;
  output.result({ ...done, bound: false }, () => `${done.app} is not bound to ${done.service} any more${text}`);
}

/** A warning, not a failure: the binding is there, and works once the service runs. */
async function untilGranted(client: Client, output: Output, service: string, binding: string): Promise<boolean> {
  const path = `/v1/services/${encodeURIComponent(service)}/access?binding=${encodeURIComponent(binding)}`;
  for await (const event of client.stream<AccessEvent>(path)) {
    if (event.type === 'failed') throw new CliError(event.code, event.message);
    if (event.type !== 'done') continue;
    if (event.warning !== null) output.note(`warning: ${event.warning}`);
    return event.granted;
  }
  throw new CliError('connection_lost', `the node ended the connection before it was done: see peer service status`);
}

/** An app that never ran, or is stopped, has nothing to restart. */
async function restarted(client: Client, output: Output, app: string): Promise<string> {
  const shape = await answer(client.v1.apps[':name'].$get({ param: { name: app } }));
  if (shape.release === null || shape.stopped) return `${app} gets it when it starts`;
  return rolloutText(await followRollout(client, output, app));
}
