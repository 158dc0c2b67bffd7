// The catalogue of kinds of services: which there are, what plans they have, and which engines this machine has for
// them. A new kind is a file and a line here.

import type { Engine, Machine, PlanName, ServiceKind, ServicePlan } from '../ports/services.ts';
import { mysql } from './mysql.ts';
import { nats } from './nats.ts';
import { postgres } from './postgres.ts';
import { rabbitmq } from './rabbitmq.ts';
import { redis } from './redis.ts';

export const KINDS: readonly ServiceKind[] = [mysql, nats, postgres, rabbitmq, redis];

export const PLAN_NAMES: readonly PlanName[] = ['small', 'medium', 'large'];

/** Undefined: there is no such kind. */
export const kindOf = (name: string): ServiceKind | undefined => KINDS.find((kind) => kind.name === name);

/** Undefined: the kind has no such plan. */
export const planOf = (kind: ServiceKind, name: string): ServicePlan | undefined =>
  PLAN_NAMES.some((known) => known === name) ? kind.plans[name as PlanName] : undefined;

/** What a machine has to run kinds with: engines by the kind's name, newest first; kinds without one are missing. */
export type Engines = ReadonlyMap<string, readonly Engine[]>;

export async function findEngines(machine: Machine, kinds: readonly ServiceKind[] = KINDS): Promise<Engines> {
  const found = await Promise.all(kinds.map(async (kind) => [kind.name, await kind.find(machine)] as const));
  return new Map(found.filter(([, engines]) => engines.length > 0));
}

/** The engine for a service of that kind and version; undefined where the machine has none. */
export const engineFor = (engines: Engines, kind: string, version: string): Engine | undefined =>
  engines.get(kind)?.find((engine) => engine.version === version);

/** As a node reports them: `postgres 15`, sorted. */
export const engineNames = (engines: Engines): string[] =>
  [...engines].flatMap(([kind, ones]) => ones.map(({ version }) => `${kind} ${version}`)).sort();

/** What to do where there is no engine for the kind, for people. */
export const howToInstall = (kind: ServiceKind): string =>
  `on Debian: apt-get install --no-install-recommends ${kind.debianPackage}`;
