// peer completions: prints the completion script of a shell.

import { completionScript, SHELLS } from '../completions.ts';
import type { Context } from '../context.ts';
import { parseChoice } from '../values.ts';

export async function run({ args, output }: Context): Promise<void> {
  const shell = parseChoice(args[0]!, 'shell', SHELLS);
  const script = completionScript(shell);
  output.result({ shell, script }, () => script);
}
