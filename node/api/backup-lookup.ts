// From what people write of backups to those that there are and that they may have, or a clear "there is no such
// thing". Those of services that are gone are found by the service's id, or the name that it had.

import type { Context } from 'hono';
import type { DesiredView, ServiceView } from '../../crdt/view.ts';
import { ageText } from '../lib/age-text.ts';
import { newestOf, unprovenText } from '../lib/newest-backup.ts';
import type { Backup, HeldBackup } from '../ports/backups.ts';
import type { NodeService } from '../ports/node-service.ts';
import { type AppAccess, readsAll, requireServiceAccess } from './access.ts';
import type { ApiEnv } from './auth.ts';
import { ageOf } from './data-shaping.ts';
import { ApiError } from './errors.ts';
import { findService, serviceNamed } from './lookup.ts';

const NEWEST = 'newest';

type Asked = Pick<NodeService, 'view' | 'backups'>;

export function mayOf(c: Context<ApiEnv>, view: DesiredView, { service }: Backup, needed: AppAccess): boolean {
  const owner = view.services.get(service);
  if (owner === undefined) return readsAll(view, c.get('user'));
  try {
    requireServiceAccess(view, c.get('user'), owner, needed);
    return true;
  } catch {
    return false;
  }
}

/** Of the service that the path names, newest first. Fails with `not_found` or `forbidden`. */
export async function backupsFor(c: Context<ApiEnv>, asked: Asked, needed: AppAccess): Promise<HeldBackup[]> {
  const name = c.req.param('name') ?? '';
  const view = asked.view();
  const there = findService(view, name);
  if (there !== undefined) {
    requireServiceAccess(view, c.get('user'), there, needed);
    return asked.backups.list(there.id);
  }
  const found = (await asked.backups.list(undefined)).filter(
    (one) => (one.service === name || one.name === name) && !view.services.has(one.service),
  );
  // Says that there is no such service.
  if (found.length === 0) serviceNamed(view, name);
  return found.filter((one) => mayOf(c, view, one, needed));
}

/** The one that the id names, whichever service it is of; `newest` is of this one. Fails as chosen() does. */
export async function backupFor(
  c: Context<ApiEnv>,
  asked: Asked,
  service: ServiceView,
  id: string,
): Promise<HeldBackup> {
  const all = await asked.backups.list(id === NEWEST ? service.id : undefined);
  const found = chosen(all, {
    name: service.name,
    id,
    command: (one) => `peer service restore ${service.name} ${one}`,
  });
  if (mayOf(c, asked.view(), found, 'change')) return found;
  throw unknown(service.name, id);
}

/**
 * By its id. `newest`: the newest that is not known to be bad, if that is proven: what begins like a backup may be
 * damaged further on. Fails with `backup_unknown`, and with `backup_unproven`, which says how each is named.
 */
export function chosen(
  backups: readonly HeldBackup[],
  { name, id, command }: { name: string; id: string; command: (id: string) => string },
): HeldBackup {
  if (id !== NEWEST) {
    const found = backups.find((backup) => backup.id === id);
    if (found === undefined) throw unknown(name, id);
    return found;
  }
  const found = newestOf(backups);
  if (found === undefined) throw unknown(name, id);
  if (found.newest === found.proven) return found.newest;
  const age = ({ takenAtMs }: HeldBackup): string => ageText(ageOf(takenAtMs));
  throw new ApiError('backup_unproven', unprovenText(name, found, { age, command }));
}

const unknown = (name: string, id: string): ApiError =>
  new ApiError(
    'backup_unknown',
    id === NEWEST
      ? `no node that answers holds a backup of ${name}: peer service backup ${name} takes one`
      : `no node that answers holds a backup ${id}: see peer service backups`,
  );
