// The URL of a buildpack, apart into what everyone may see and what nobody may: its user name and password, and the
// query of an archive's URL, which is a signature more often than not. Pure.

export type Credentials = { username: string; password: string };

export type SourceUrl = {
  /** Without credentials: fit for arguments. The query is still there. */
  url: string;
  credentials?: Credentials;
  /** What people see: without the query, too. */
  shown: string;
};

/** From the scheme to the last `@` of the authority, which a path, a query and a fragment are no part of. */
const USERINFO = /^([a-z][a-z0-9+.-]*:\/\/)([^/?#\\]*)@/i;

/** Undefined when what stands before the `@` could not be told to a server: it is no text, or has a line break. */
export function sourceUrl(text: string): SourceUrl | undefined {
  const url = text.replace(USERINFO, '$1');
  const shown = url.replace(/\?.*$/, '');
  const userinfo = USERINFO.exec(text)?.[2];
  if (userinfo === undefined) return { url, shown };
  const colon = userinfo.indexOf(':');
  const username = decoded(colon < 0 ? userinfo : userinfo.slice(0, colon));
  const password = decoded(colon < 0 ? '' : userinfo.slice(colon + 1));
  if (username === undefined || password === undefined) return undefined;
  return { url, shown, credentials: { username, password } };
}

function decoded(text: string): string | undefined {
  try {
    const plain = decodeURIComponent(text);
    // Each is a line in git's protocol for credentials.
    return /[\0\r\n]/.test(plain) ? undefined : plain;
  } catch {
    return undefined;
  }
}

/** What someone wrote and is told to have written wrong: nothing before an `@`, and no query. */
export const withoutSecrets = (text: string): string =>
  text.replace(/^([a-z][a-z0-9+.-]*:\/\/).*@/is, '$1').replace(/\?[^#]*/, '?…');

/** Every way in which a URL's secrets may be written into what a program prints. */
export function secretsOf({ url, credentials }: Pick<SourceUrl, 'url' | 'credentials'>): string[] {
  const { username = '', password = '' } = credentials ?? {};
  // A token stands in the place of the name, then.
  const secret = password === '' ? username : password;
  const query = /\?([^#]*)/.exec(url)?.[1] ?? '';
  const written = [
    Buffer.from(`${username}:${password}`).toString('base64'),
    secret,
    encodeURIComponent(secret),
    encodeURI(secret),
    query,
  ];
  const isSecret = (text: string): boolean => text !== '' && text !== Buffer.from(':').toString('base64');
  return [...new Set(written.filter(isSecret))].sort((a, b) => b.length - a.length);
}

/** A line with the secrets blotted out. */
export const hidden = (line: string, secrets: readonly string[]): string =>
  secrets.reduce((text, secret) => text.replaceAll(secret, '***'), line);

/**
 * How a run in the sandbox is told of the source: in its environment, which only its own user can read. git asks for
 * the credentials by its own interface, when the server does, and only for this server.
 */
export function sourceEnvironment(
  kind: 'git' | 'archive',
  source: Pick<SourceUrl, 'url' | 'credentials'>,
): Record<string, string> {
  const { url, credentials } = source;
  const env: Record<string, string> = kind === 'archive' ? { PEER_FETCH_URL: url } : {};
  if (credentials === undefined) return env;
  env.PEER_FETCH_USER = credentials.username;
  env.PEER_FETCH_PASSWORD = credentials.password;
  if (kind === 'archive') return env;
  return {
    ...env,
    GIT_CONFIG_COUNT: '1',
    GIT_CONFIG_KEY_0: `credential.${originOf(url)}.helper`,
    // Printed by the shell itself: no program has them among its arguments.
    GIT_CONFIG_VALUE_0:
      '!f() { [ "$1" = get ] && printf "username=%s\\npassword=%s\\n" "$PEER_FETCH_USER" "$PEER_FETCH_PASSWORD"; }; f',
  };
}

const originOf = (url: string): string => /^[a-z][a-z0-9+.-]*:\/\/[^/?#\\]*/i.exec(url)![0];
