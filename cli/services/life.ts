// What brings a service to another node, back from a backup, or to another version of its engine: each is followed to
// its end.

import type { ServiceLifeShape } from '../../node/api/data-shapes.ts';
import { confirmed } from '../confirm.ts';
import { type Context, flagOption, textOption } from '../context.ts';
import { UsageError } from '../errors.ts';
import { followLife } from '../follow-life.ts';
import { formatAge } from '../format.ts';
import { parseNameOrId } from '../values.ts';
import { statusOf } from './manage.ts';

type Args = readonly (string | undefined)[];

const pathOf = (name: string, action: string): string => `/v1/services/${encodeURIComponent(name)}/${action}`;
const lookAt = (name: string): string => `peer service status ${name}`;

export async function move([given]: Args, { options, client, output }: Context): Promise<void> {
  const name = parseNameOrId(given!, 'service');
  const node = nodeIn(options);
  if (node === undefined) throw new UsageError(`--to NODE is missing: peer service move ${name} --to NODE`);
  const request = { path: pathOf(name, 'move'), json: { node }, look: lookAt(name) };
  const done = await followLife<ServiceLifeShape>(await client(), output, request);
  output.result(done, () => `${done.name} has moved; ${whereOf(done)}`);
}

export async function recover([given]: Args, { options, client, output }: Context): Promise<void> {
  const name = parseNameOrId(given!, 'service');
  const node = nodeIn(options);
  const backup = textOption(options, 'backup');
  const connected = await client();
  const service = await statusOf(connected, name);
  const age = service.provenBackupAgeMs === null ? '' : `, ${formatAge(service.provenBackupAgeMs)} old`;
  const from = backup === undefined ? `its newest proven backup${age}` : `backup ${backup}`;
  const what = `this gives up what ${service.name} holds on ${service.node} for ${from}`;
  // Of one that runs nothing is to be asked: the node refuses it, and says what to do.
  const mayBeLost = service.instance === null;
  if (mayBeLost) await confirmed(what, service.name, flagOption(options, 'yes'));
  const json = { ...(node === undefined ? {} : { node }), ...(backup === undefined ? {} : { backup }) };
  const meant = mayBeLost ? `?confirm=${encodeURIComponent(service.name)}` : '';
  const path = `${pathOf(name, 'recover')}${meant}`;
  const done = await followLife<ServiceLifeShape>(connected, output, { path, json, look: lookAt(name) });
  output.result(done, () => {
    if (done.ageMs === null) return `${done.name} is recovered, and had nothing to lose; ${whereOf(done)}`;
    const what = `${done.name} is recovered as it was ${formatAge(done.ageMs)} ago, from backup ${done.backup}`;
    return `${what}: what came later is lost; ${whereOf(done)}`;
  });
}

export async function upgrade(args: Args, context: Context): Promise<void> {
  const { options } = context;
  const version = textOption(options, 'version');
  const [confirm, revert] = [flagOption(options, 'confirm'), flagOption(options, 'revert')];
  const name = parseNameOrId(args[0]!, 'service');
  if ([version !== undefined, confirm, revert].filter(Boolean).length !== 1) {
    throw new UsageError(
      `one of --version V, --confirm and --revert is needed: peer service upgrade ${name} --version V; peer services kinds lists versions`,
    );
  }
  if (version !== undefined) return upgradeTo(name, version, context);
  if (nodeIn(options) !== undefined) throw new UsageError('--to NODE goes with --version V alone');
  return confirm ? confirmUpgrade(name, context) : revertUpgrade(name, context);
}

async function upgradeTo(name: string, version: string, { options, client, output }: Context): Promise<void> {
  const node = nodeIn(options);
  const json = { version, ...(node === undefined ? {} : { node }) };
  const request = { path: pathOf(name, 'upgrade'), json, look: lookAt(name) };
  const done = await followLife<ServiceLifeShape>(await client(), output, request);
  output.result(done, () => {
    const kept = done.before === null ? '' : `; what was ${done.before.version} is kept on ${done.before.node} until`;
    const next = kept === '' ? '' : `${kept} peer service upgrade ${name} --confirm, or --revert`;
    return `${done.name} is ${done.version}; ${whereOf(done)}${next}`;
  });
}

async function confirmUpgrade(name: string, { client, output }: Context): Promise<void> {
  const request = { path: pathOf(name, 'upgrade/confirm'), look: lookAt(name) };
  const done = await followLife<ServiceLifeShape>(await client(), output, request);
  output.result(done, () => `${done.name} is ${done.version}, and what was before is gone`);
}

async function revertUpgrade(name: string, { options, client, output }: Context): Promise<void> {
  const connected = await client();
  const { before, ...service } = await statusOf(connected, name);
  const was = before === null ? 'what it was' : `what it was as ${before.version}`;
  const what = `this gives up what ${service.name} was given since its upgrade for ${was}`;
  await confirmed(what, service.name, flagOption(options, 'yes'));
  const path = `${pathOf(name, 'upgrade/revert')}?confirm=${encodeURIComponent(service.name)}`;
  const done = await followLife<ServiceLifeShape>(connected, output, { path, look: lookAt(name) });
  output.result(
    done,
    () => `${done.name} is ${done.version} as it was before; what came since is kept as an orphan; ${whereOf(done)}`,
  );
}

function nodeIn(options: Context['options']): string | undefined {
  const node = textOption(options, 'to');
  return node === undefined ? undefined : parseNameOrId(node, '--to');
}

const whereOf = ({ node, ready }: ServiceLifeShape): string =>
  ready ? `it runs on ${node}` : `its data is on ${node}, and it does not run yet`;
