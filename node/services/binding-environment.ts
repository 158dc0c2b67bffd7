// Decides what an app finds of its services in its environment: VCAP_SERVICES in Cloud Foundry's shape, and the
// variables by which client libraries look for them. Pure but for `open`, which opens what is sealed.

import type { AppId } from '../../crdt/ids.ts';
import { ENV_VALUE_BYTES_MAX } from '../../crdt/limits.ts';
import { bindingContext, serviceContext } from '../../crdt/sealed.ts';
import type { BindingView, DesiredView, ServiceView } from '../../crdt/view.ts';
import { serviceHost } from '../core/service-address.ts';
import { serviceHosts } from '../core/service-reach.ts';
import type { HostEntry } from '../core/types.ts';
import type { Access, ServiceKind } from '../ports/services.ts';
import { databaseName, userOf } from './names.ts';

export const USER_PROVIDED = 'user-provided';

export type ServicesEnvironment = {
  env: Record<string, string>;
  /** What the names of its services mean, for its hosts file. */
  hosts: readonly HostEntry[];
};

type Options = {
  view: Pick<DesiredView, 'bindings' | 'services'>;
  app: AppId;
  kindOf: (name: string) => ServiceKind | undefined;
  /** Opens what is sealed under the context. Throws when it cannot. */
  open: (context: string, sealed: string) => string;
};

/** Variables that client libraries read an address of a user's own service from, by the scheme of its `uri`. */
const VARIABLE_OF_SCHEME: Readonly<Record<string, string>> = {
  postgres: 'DATABASE_URL',
  postgresql: 'DATABASE_URL',
  mysql: 'DATABASE_URL',
  mysql2: 'DATABASE_URL',
  mariadb: 'DATABASE_URL',
  redis: 'REDIS_URL',
  rediss: 'REDIS_URL',
  amqp: 'AMQP_URL',
  amqps: 'AMQP_URL',
};

/**
 * Of two bindings that would set one variable the older one does; `prefix` keeps the other apart:
 * `SECOND_DATABASE_URL` beside `DATABASE_URL`, and its address as `SECOND_URL`. Throws what `open` throws.
 */
export function servicesEnvironment({ view, app, kindOf, open }: Options): ServicesEnvironment {
  const env: Record<string, string> = {};
  const vcap: Record<string, object[]> = {};
  for (const binding of bindingsOf(view, app)) {
    const service = view.services.get(binding.service);
    if (service === undefined) continue;
    const found = boundService(service, binding, { kindOf, open });
    if (found === undefined) continue;
    vcap[service.kind] = [...(vcap[service.kind] ?? []), vcapEntry(service, binding, found)];
    for (const [name, value] of Object.entries(prefixed(found, binding.prefix))) env[name] ??= value;
  }
  env.VCAP_SERVICES = JSON.stringify(vcap);
  // What a user provided is at an address of its own.
  const services = new Map([...view.services].filter(([, { kind }]) => kind !== USER_PROVIDED));
  return { env, hosts: serviceHosts(app, { services, bindings: view.bindings.values() }) };
}

const REFERENCE = /\$?\$\(([A-Za-z_][A-Za-z0-9_]*)\)/g;

/**
 * An app's own variables, with `$(PGHOST)` as what its services say under that name, as Kubernetes has it: for
 * programs that look under names of their own. A name that no service has stays as it is written, and so does
 * `$$(PGHOST)`, but for one `$`; so does a value that would be too long.
 */
export const withReferences = (
  own: Readonly<Record<string, string>>,
  ofServices: Readonly<Record<string, string>>,
): Record<string, string> =>
  Object.fromEntries(
    Object.entries(own).map(([key, value]) => {
      const filled = value.replaceAll(REFERENCE, (written, name: string) => {
        if (!Object.hasOwn(ofServices, name)) return written;
        return written.startsWith('$$') ? written.slice(1) : (ofServices[name] ?? '');
      });
      return [key, filled.length > ENV_VALUE_BYTES_MAX ? value : filled];
    }),
  );

/** Oldest first. */
function bindingsOf(view: Options['view'], app: AppId): BindingView[] {
  const own = [...view.bindings.values()].filter((binding) => binding.app === app);
  // They come in the order of ids, which sorting keeps among equals.
  return own.sort((a, b) => a.createdAtMs - b.createdAtMs);
}

type Found = { tags: readonly string[]; credentials: Record<string, unknown>; variables: Record<string, string> };

/** Undefined: a kind that this version does not know; the app starts without it. */
function boundService(
  service: ServiceView,
  binding: BindingView,
  { kindOf, open }: Pick<Options, 'kindOf' | 'open'>,
): Found | undefined {
  if (service.kind === USER_PROVIDED) {
    const credentials = JSON.parse(open(serviceContext(service.id), service.secret)) as Record<string, unknown>;
    return { tags: [], credentials, variables: variablesOfUri(credentials.uri) };
  }
  const kind = kindOf(service.kind);
  if (kind === undefined) return undefined;
  const access = accessOf(service, binding, open);
  const endpoint = { host: serviceHost(service.name), port: kind.port };
  return {
    tags: kind.tags,
    credentials: kind.credentials(access, endpoint),
    variables: kind.environment(access, endpoint),
  };
}

export const accessOf = (
  service: ServiceView,
  binding: Pick<BindingView, 'id' | 'secret'>,
  open: Options['open'],
): Access => ({
  user: userOf(binding),
  password: open(bindingContext(binding.id), binding.secret),
  database: databaseName(service.name),
});

function variablesOfUri(uri: unknown): Record<string, string> {
  if (typeof uri !== 'string') return {};
  const variable = VARIABLE_OF_SCHEME[/^([a-z0-9+]+):/i.exec(uri)?.[1]?.toLowerCase() ?? ''];
  return variable === undefined ? {} : { [variable]: uri };
}

function prefixed({ variables, credentials }: Found, prefix: string): Record<string, string> {
  if (prefix === '') return variables;
  const named = Object.entries(variables).map(([name, value]) => [`${prefix}_${name}`, value]);
  const { uri } = credentials;
  return { ...Object.fromEntries(named), ...(typeof uri === 'string' ? { [`${prefix}_URL`]: uri } : {}) };
}

/** @see https://docs.cloudfoundry.org/devguide/deploy-apps/environment-variable.html#VCAP-SERVICES */
const vcapEntry = (service: ServiceView, binding: BindingView, { tags, credentials }: Found) => ({
  name: service.name,
  label: service.kind,
  tags,
  ...(service.kind === USER_PROVIDED ? {} : { plan: service.plan }),
  credentials,
  syslog_drain_url: null,
  instance_guid: service.id,
  instance_name: service.name,
  binding_guid: binding.id,
  binding_name: null,
  volume_mounts: [],
});
