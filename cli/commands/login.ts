// peer login: checks a URL and a token, and uses them from now on. A certificate that no authority vouches for is
// trusted when its fingerprint is the one given, or when the person says so.

import { answer, createClient } from '../client.ts';
import { configPath, writeConfig } from '../config.ts';
import { apiUrl } from '../connection.ts';
import { type Context, textOption } from '../context.ts';
import { CliError, UsageError } from '../errors.ts';
import { isFingerprint, sameFingerprint, shownFingerprint } from '../pinned.ts';
import { promptOn } from '../prompt.ts';

export async function run({ args, options, output }: Context): Promise<void> {
  const api = apiUrl(args[0]!);
  const expected = textOption(options, 'fingerprint');
  if (expected !== undefined && !isFingerprint(expected)) {
    throw new UsageError(
      `--fingerprint ${expected}: should be the 64 digits of a SHA-256 fingerprint, such as AB:CD:…`,
    );
  }
  const fingerprint = api.startsWith('https:') ? await trustedFingerprint(api, expected) : undefined;
  if (fingerprint === undefined && expected !== undefined) throw new UsageError('--fingerprint needs an https:// URL');
  const token = textOption(options, 'token') ?? (process.env.PEER_TOKEN || undefined) ?? (await askForToken());
  const { user, cluster } = await answer(createClient({ url: api, token, fingerprint }).v1.status.$get());
  await writeConfig({ api, token, ...(fingerprint === undefined ? {} : { fingerprint }) });
  output.result(
    { api, user, cluster, config: configPath() },
    () => `logged in at ${api} as ${user.name}, ${user.role}`,
  );
}

async function trustedFingerprint(api: string, expected: string | undefined): Promise<string> {
  const shown = await shownFingerprint(api);
  if (expected !== undefined) {
    if (sameFingerprint(shown, expected)) return shown;
    throw new CliError('untrusted', `${api} shows another certificate: its fingerprint is ${shown}`);
  }
  process.stderr.write(`the certificate of ${api} has the SHA-256 fingerprint\n  ${shown}\n`);
  if (process.stdin.isTTY !== true) {
    throw new CliError(
      'untrusted',
      `compare the fingerprint with the node's, then: peer login ${api} --fingerprint ${shown}`,
    );
  }
  const { createInterface } = await import('node:readline/promises');
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  const said = await prompt.question('Is that the node you mean? (yes/no) ');
  prompt.close();
  if (said.trim().toLowerCase() !== 'yes') throw new CliError('untrusted', 'not logged in');
  return shown;
}

/** From a terminal without showing it, else the first line of stdin. */
async function askForToken(): Promise<string> {
  const prompt = promptOn(process.stdin, process.stderr);
  const token = (await prompt.ask('Token: '))?.trim() ?? '';
  prompt.close();
  if (token === '') throw new UsageError('a token is needed: pass --token, or write it to stdin');
  return token;
}
