// Where the API is and what it is told: --api and --token, else the environment, else the config file.

import { type Config, readConfig } from './config.ts';
import { textOption } from './context.ts';
import { CliError, UsageError } from './errors.ts';
import { isLoopback } from './loopback.ts';
import type { Options } from './parse.ts';

export type Connection = {
  /** Without a slash at the end. */
  url: string;
  token: string | undefined;
  fingerprint: string | undefined;
};

export async function resolveConnection(options: Options, env: NodeJS.ProcessEnv = process.env): Promise<Connection> {
  const givenApi = textOption(options, 'api') ?? nonEmpty(env.PEER_API);
  const givenToken = textOption(options, 'token') ?? nonEmpty(env.PEER_TOKEN);
  const config: Config = await readConfig();
  const api = givenApi ?? config.api;
  if (api === undefined) {
    throw new CliError(
      'no_api',
      'no cluster is known here: start a node with peer start, or log in with peer login URL',
    );
  }
  const url = apiUrl(api);
  const isConfigured = config.api !== undefined && apiUrl(config.api) === url;
  return {
    url,
    token: givenToken ?? config.token,
    fingerprint: isConfigured ? config.fingerprint : undefined,
  };
}

/** `http://127.0.0.1:7600`, or `HOST:PORT`, which means TLS unless it is this machine. */
export function apiUrl(text: string): string {
  const withScheme = /^[a-z]+:\/\//i.test(text) ? text : `${isLoopback(text) ? 'http' : 'https'}://${text}`;
  let url: URL;
  try {
    url = new URL(withScheme);
  } catch {
    throw notAnAddress(text);
  }
  // A word alone would be looked up as a host's name, which takes a while to fail.
  if (withScheme !== text && url.port === '' && !/:443$/.test(text)) throw notAnAddress(text);
  if (url.port === '0') throw notAnAddress(text);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new UsageError(`${text}: should begin with http:// or https://`);
  }
  return url.origin;
}

const notAnAddress = (text: string): UsageError =>
  new UsageError(`${text || '""'}: should be a URL such as http://127.0.0.1:7600, or HOST:PORT`);

const nonEmpty = (text: string | undefined): string | undefined => (text === '' ? undefined : text);
