// Stopping a node, for `peer stop` and `peer leave`: asks it, and waits until its process has gone.

import { answer, type Client, createClient } from './client.ts';
import { apiUrl } from './connection.ts';
import { type Context, textOption } from './context.ts';
import { isLocalDaemon, readNodeFile, resolveDataDir, waitUntilGone } from './daemon.ts';
import { CliError } from './errors.ts';
import { dataChoice, exportLines, moveDataOf } from './node-data.ts';
import { createProgress } from './progress.ts';

const STOP_TIMEOUT_MS = 60_000;
/** Replacements of all its instances must be ready first. */
const LEAVE_TIMEOUT_MS = 15 * 60_000;

export async function stopNode(context: Context, leave: boolean): Promise<void> {
  const { output } = context;
  const client = await clientOfNode(context);
  const { withData, strand } = dataChoice(context);
  if (leave) await tellExports(client, output);
  if (withData) await moveDataOf(client, output, (await answer(client.v1.status.$get())).node.id);
  const progress = await createProgress(output);
  progress.step(leave ? 'draining and stopping the node' : 'stopping the node');
  try {
    const stopped = await answer(client.v1.node.stop.$post({ json: { leave, ...(strand ? { strand } : {}) } }));
    const { pid, dataDir, name } = stopped;
    const local = await isLocalDaemon(pid, dataDir);
    const gone = await waitUntilGone(
      () => (local ? isLocalDaemon(pid, dataDir) : answers(client)),
      leave ? LEAVE_TIMEOUT_MS : STOP_TIMEOUT_MS,
    );
    if (!gone)
      throw new CliError('still_running', `${name} (pid ${pid}) has not stopped yet: see its log in ${dataDir}`);
    progress.end('done');
    output.result({ name, pid, stopped: true, left: leave }, () => `${name} has ${leave ? 'left and ' : ''}stopped`);
  } catch (error) {
    progress.end('failed');
    throw error;
  }
}

/** What is open to others at an address of the node goes with it, wherever the service runs. */
async function tellExports(client: Client, { note }: Context['output']): Promise<void> {
  const { name, id } = (await answer(client.v1.status.$get())).node;
  const { exports } = await answer(client.v1.nodes[':name'].data.$get({ param: { name: id } }));
  for (const line of exportLines(name, exports)) note(line);
}

/** The one on --data-dir when that is given, else the one that every command uses. */
async function clientOfNode(context: Context): Promise<Client> {
  const given = textOption(context.options, 'dataDir');
  if (given === undefined) return context.client();
  const dataDir = resolveDataDir(given);
  const file = await readNodeFile(dataDir);
  if (file === undefined) throw new CliError('not_running', `no node runs on ${dataDir}`);
  const url = apiUrl(file.api);
  const { shownFingerprint } = await import('./pinned.ts');
  const fingerprint = url.startsWith('https:') ? await shownFingerprint(url) : undefined;
  return createClient({ url, token: file.token, fingerprint });
}

async function answers(client: Client): Promise<boolean> {
  try {
    await answer(client.v1.health.$get());
    return true;
  } catch {
    return false;
  }
}
