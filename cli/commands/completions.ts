// peer completions: prints the completion script of a shell, or the names that such a script offers. Those come from
// the daemon while somebody waits for a word to be completed: soon or not at all, and without a complaint.

import { answer, type Client } from '../client.ts';
import { completionScript, LISTS, type List, SHELLS } from '../completions.ts';
import type { Context } from '../context.ts';
import { slotText } from '../services/text.ts';
import { parseChoice } from '../values.ts';

/** Whoever pressed a key has begun to wonder by then. */
const NAMES_WAIT_MS = 1_000;

export async function run({ args, client, output }: Context): Promise<void> {
  const what = parseChoice(args[0]!, 'shell', [...SHELLS, ...LISTS]);
  const list = LISTS.find((one) => one === what);
  if (list === undefined) {
    const shell = what as (typeof SHELLS)[number];
    const script = completionScript(shell);
    return output.result({ shell, script }, () => script);
  }
  const found = await soon(client().then((connected) => namesOf(list, connected)));
  // A shell takes them for more than words.
  const names = found.filter((name) => PLAIN.test(name));
  output.result(names, () => names.join('\n'));
  // Whatever is still under way has nobody who waits for it.
  if (names.length === 0) process.stdout.write('', () => process.exit(0));
}

const PLAIN = /^[A-Za-z0-9][A-Za-z0-9._/-]*$/;

/** Nothing when it fails, or takes too long. */
async function soon(names: Promise<string[]>): Promise<string[]> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string[]>((resolve) => {
    timer = setTimeout(() => resolve([]), NAMES_WAIT_MS);
  });
  const found = await Promise.race([names.catch(() => []), late]);
  clearTimeout(timer);
  return found;
}

async function namesOf(list: List, { v1 }: Client): Promise<string[]> {
  if (list === 'nodes') return (await answer(v1.nodes.$get())).map(({ name }) => name);
  if (list === 'services') {
    return (await answer(v1.services.$get())).map(({ name, id, ownsName }) => (ownsName ? name : id));
  }
  if (list === 'volumes') return (await answer(v1.volumes.$get())).map(slotText);
  const apps = await answer(v1.apps.$get());
  if (list === 'apps') return apps.map(({ name, id, ownsName }) => (ownsName ? name : id));
  return apps.flatMap(({ name, desired }) =>
    Object.entries(desired).flatMap(([process, count]) =>
      Array.from({ length: count }, (_, index) =>
        process === 'web' ? `${name}/${index}` : `${name}/${process}/${index}`,
      ),
    ),
  );
}
