// What the apps of a Compose file are told of the databases beside them: where it names one that is a service of the
// cluster here, says what to write instead, line by line: address and credentials are others than the file's. Pure.

import { type Data, isMapping } from './document.ts';

type References = { host: string; port: string; user: string; password: string; database?: string; url: string };

/** Variables of a binding, by kind (`environment` of node/services). */
export const REFERENCES: Readonly<Record<string, References & { jdbc?: string }>> = {
  postgres: {
    ...{ host: 'PGHOST', port: 'PGPORT', user: 'PGUSER', password: 'PGPASSWORD', database: 'PGDATABASE' },
    ...{ url: 'DATABASE_URL', jdbc: 'SPRING_DATASOURCE_URL' },
  },
  mysql: {
    ...{ host: 'MYSQL_HOST', port: 'MYSQL_PORT', user: 'MYSQL_USER', password: 'MYSQL_PASSWORD' },
    ...{ database: 'MYSQL_DATABASE', url: 'DATABASE_URL', jdbc: 'SPRING_DATASOURCE_URL' },
  },
  redis: {
    ...{ host: 'REDIS_HOST', port: 'REDIS_PORT', user: 'REDIS_USERNAME', password: 'REDIS_PASSWORD' },
    url: 'REDIS_URL',
  },
  rabbitmq: {
    ...{ host: 'RABBITMQ_HOST', port: 'RABBITMQ_PORT', user: 'RABBITMQ_USERNAME', password: 'RABBITMQ_PASSWORD' },
    url: 'AMQP_URL',
  },
  nats: {
    ...{ host: 'NATS_HOST', port: 'NATS_PORT', user: 'NATS_USER', password: 'NATS_PASSWORD' },
    url: 'NATS_URL',
  },
};

/** Values of that kind under these keys are what they seem; any other may be equal by chance. */
const KEYS = {
  host: /host|addr|server|ur[il]|endpoint|dsn/i,
  password: /pass|pwd?$|secret/i,
  user: /user|login/i,
  database: /name|db|database|schema/i,
};

/** Where what is bound to a service of the kind finds it: the first of its variables, for people. */
export function variablesOf(kind: string): string {
  const { url, host, user, password } = REFERENCES[kind]!;
  return `${[url, host, user, password].join(', ')} …`;
}

export type Database = { name: string; kind: string; written: Data };

/**
 * A clause for each key that has to change at an app, by its path below `services.`.
 * @param databases those that the file has, as servers or as a `provider` already.
 */
export function wiringOf(app: string, written: Data, databases: readonly Database[]): [path: string, clause: string][] {
  if (!isMapping(written)) return [];
  const clauses: [string, string][] = [];
  const env = pairsOf(written.environment);
  const missing: string[] = [];
  for (const database of databases) {
    const references = REFERENCES[database.kind];
    if (references === undefined) continue;
    const found = env.flatMap(([key, value]): Found[] => {
      const one = referenceFor(key, value, database, references);
      return one === undefined ? [] : [{ key, ...one }];
    });
    const isNamed = found.some(({ what }) => what === 'host' || what === 'url');
    const isDependent = namesIn(written.depends_on).includes(database.name);
    if (!isNamed && !isDependent) continue;
    if (!isDependent) missing.push(database.name);
    const clause = clauseOf(database.name, found, references);
    if (clause !== undefined) clauses.push([`${app}.environment`, clause]);
  }
  if (missing.length > 0) {
    const all = [...namesIn(written.depends_on), ...missing].join(', ');
    clauses.push([app, `write depends_on: [${all}]`]);
  }
  return clauses;
}

type Found = { key: string; what: keyof References; text: string };

const reference = (name: string): string => `$$(${name})`;

function referenceFor(
  key: string,
  value: string,
  { name, written }: Database,
  { host, port, user, password, database, url, jdbc }: References & { jdbc?: string },
): Omit<Found, 'key'> | undefined {
  const own = name.replaceAll(/[^\w-]/g, '');
  if (jdbc !== undefined && new RegExp(`^jdbc:\\w+://${own}[:/]`).test(value))
    return { what: 'url', text: reference(jdbc) };
  const address = new RegExp(`^[a-z][a-z0-9+]*://(?:[^/@]*@)?${own}(?::\\d+)?(?:/[^?]*)?(\\?.*)?$`, 'i').exec(value);
  if (address !== null) return { what: 'url', text: `${reference(url)}${address[1] ?? ''}` };
  if (new RegExp(`^${own}:\\d+$`).test(value)) {
    return { what: 'host', text: `${reference(host)}:${reference(port)}` };
  }
  if (value === name && KEYS.host.test(key)) return { what: 'host', text: reference(host) };
  if (value === '') return undefined;
  const given = credentialsOf(written);
  if (given.password.includes(value) && KEYS.password.test(key)) return { what: 'password', text: reference(password) };
  if (given.user.includes(value) && KEYS.user.test(key)) return { what: 'user', text: reference(user) };
  if (database !== undefined && given.database.includes(value) && KEYS.database.test(key)) {
    return { what: 'database', text: reference(database) };
  }
  return undefined;
}

/** What images of servers take as theirs: `POSTGRES_USER`, `MYSQL_ROOT_PASSWORD`, `RABBITMQ_DEFAULT_PASS` … */
function credentialsOf(written: Data): Record<'user' | 'password' | 'database', string[]> {
  const pairs = isMapping(written) ? pairsOf(written.environment) : [];
  const of = (pattern: RegExp): string[] => pairs.flatMap(([key, value]) => (pattern.test(key) ? [value] : []));
  const user = of(/_USER(NAME)?$/);
  // Without one of its own the database is named like the user.
  return { user, password: of(/_PASS(WORD)?$/), database: [...of(/_(DB|DATABASE)$/), ...user] };
}

function clauseOf(name: string, found: readonly Found[], { user, password }: References): string | undefined {
  if (found.length === 0) return undefined;
  const own = found.filter(({ key, text }) => text === reference(key)).map(({ key }) => key);
  const others = found.filter(({ key }) => !own.includes(key)).map(({ key, text }) => `${key}: ${text}`);
  const parts = [
    ...(others.length === 0 ? [] : [`write ${others.join(', ')}`]),
    ...(own.length === 0 ? [] : [`remove ${own.join(', ')}, which it gets by itself`]),
  ];
  const knowsPassword = found.some(({ what }) => what === 'password' || what === 'url');
  const more = knowsPassword ? '' : `; it has to log in, as ${reference(user)} with ${reference(password)}`;
  return `${name} is at another address, with other credentials: ${parts.join('; ')}${more}`;
}

/** `environment` in either syntax; what has no value here is left out. */
function pairsOf(written: Data | undefined): [key: string, value: string][] {
  if (Array.isArray(written)) {
    return written.flatMap((one): [string, string][] => {
      const at = typeof one === 'string' ? one.indexOf('=') : -1;
      return at < 1 ? [] : [[(one as string).slice(0, at), (one as string).slice(at + 1)]];
    });
  }
  if (!isMapping(written)) return [];
  return Object.entries(written).filter((pair): pair is [string, string] => typeof pair[1] === 'string');
}

function namesIn(written: Data | undefined): string[] {
  if (Array.isArray(written)) return written.filter((one) => typeof one === 'string');
  return isMapping(written) ? Object.keys(written) : [];
}
