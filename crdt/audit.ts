// The message of an Automerge change: who made which named changes, as compact JSON that anyone may read. It names
// things, and never holds a value of the environment, a command or a hash. The messages together are the audit log.

import { describeDataChange, isDataChange } from './audit-data.ts';
import type { AppSettings, ChangeAuthor, NamedChange } from './change.ts';
import type { DataChange } from './change-data.ts';
import { checkedHost, checkedRoute } from './checks.ts';
import { AUTHOR_LENGTH_MAX, oneLine, REASON_LENGTH_MAX, TIME_MS_MAX } from './limits.ts';
import type { DesiredView } from './view.ts';

/**
 * One named change as the history shows it: its name, the app, service or node it was about, and what people may see
 * of it.
 */
export type HistoryChange = {
  change: string;
  app?: string;
  service?: string;
  /** Of the app, service or node, as it was named at the time. */
  name?: string;
  [detail: string]: unknown;
};

export type HistoryEntry = {
  /** Automerge's hash of the change; names a point in the history. */
  hash: string;
  by: string;
  atMs: number;
  changes: HistoryChange[];
};

/** Longer lists of names are cut, so that a message stays small. */
const NAMES_SHOWN_MAX = 50;
/** A longer one was not written by this program, and is not parsed. */
const MESSAGE_LENGTH_MAX = 256 * 1024;

export function auditMessage(author: ChangeAuthor, changes: HistoryChange[]): string {
  return JSON.stringify({ by: oneLine(author.by, AUTHOR_LENGTH_MAX), atMs: author.atMs, changes });
}

/** What Automerge keeps beside a change. */
export const changeOptions = (author: ChangeAuthor, described: HistoryChange[]) => ({
  message: auditMessage(author, described),
  // Automerge counts seconds; the message keeps the milliseconds.
  time: Math.floor(author.atMs / 1000),
});

/** What stands in the message of a change; tolerant, since other versions write messages too. */
export function readAuditMessage(meta: { hash: string; message: string | null; time: number }): HistoryEntry {
  const entry: HistoryEntry = { hash: meta.hash, by: 'unknown', atMs: meta.time * 1000, changes: [] };
  if (meta.message === null || meta.message.length > MESSAGE_LENGTH_MAX) return entry;
  let parsed: unknown;
  try {
    parsed = JSON.parse(meta.message);
  } catch {
    return entry;
  }
  if (typeof parsed !== 'object' || parsed === null) return entry;
  const { by, atMs, changes } = parsed as Record<string, unknown>;
  if (typeof by === 'string') entry.by = oneLine(by, AUTHOR_LENGTH_MAX);
  if (typeof atMs === 'number' && Math.abs(atMs) <= TIME_MS_MAX) entry.atMs = atMs;
  if (Array.isArray(changes)) {
    entry.changes = changes.filter((one): one is HistoryChange => typeof one?.change === 'string');
  }
  return entry;
}

/** `view` is the one that the change was validated against. */
export function describeChange(change: NamedChange, view: DesiredView): HistoryChange {
  if (isDataChange(change)) return describeDataChange(change, view);
  const appName = 'app' in change ? view.apps.get(change.app)?.name : undefined;
  const nodeName = 'node' in change ? view.nodes.get(change.node)?.name : undefined;
  return {
    change: change.change,
    ...('app' in change && { app: change.app }),
    ...('node' in change && { node: change.node }),
    ...((appName ?? nodeName) !== undefined && { name: appName ?? nodeName }),
    ...details(change, view),
  };
}

/**
 * Lists exactly what is shown, so that a field added to a change stays out of the log until someone decides otherwise.
 */
function details(change: Exclude<NamedChange, DataChange>, view: DesiredView): Record<string, unknown> {
  switch (change.change) {
    case 'admitNode':
      return { name: change.name, invite: change.invite };
    case 'addKey':
      return { key: change.key };
    case 'wrapKeys':
      return { keys: shown(Object.keys(change.wraps)) };
    case 'dropKeys':
      return { keys: shown(change.keys) };
    case 'reseal':
      return { texts: change.texts.length };
    case 'setDraining':
      return { draining: change.draining };
    case 'labelNode':
      return { labels: shown(Object.keys(change.labels)) };
    case 'addUser':
      return { user: change.name, role: change.role };
    case 'removeUser':
      return { user: change.name };
    case 'setTeams':
      return { teams: change.teams };
    case 'createInvite':
      return { invite: change.id, usesMax: change.usesMax, expiresAtMs: change.expiresAtMs };
    case 'createApp':
      return { name: change.name, routes: shown(change.routes.map(checkedRoute)), env: shown(Object.keys(change.env)) };
    case 'configureApp':
      return { ...shownSettings(change.settings), ...(change.scale && { scale: change.scale }) };
    case 'addRelease':
      return {
        release: change.release.id,
        description: oneLine(change.release.description, REASON_LENGTH_MAX),
        ...(change.settings && shownSettings(change.settings)),
        ...(change.env && { env: shown(Object.keys(change.env)) }),
        ...(change.scale && { scale: change.scale }),
      };
    case 'failRelease':
      return { release: change.release, reason: oneLine(change.reason, REASON_LENGTH_MAX) };
    case 'rollback': {
      const to = view.apps.get(change.app)?.releases.find((release) => release.id === change.to);
      return { release: change.release, to: change.to, toVersion: to?.version };
    }
    case 'setEnv':
      return { set: shown(Object.keys(change.set)), unset: shown(change.unset) };
    case 'scaleApp':
      return { scale: change.scale };
    case 'setStopped':
      return { stopped: change.stopped };
    case 'mapRoute':
    case 'unmapRoute':
      return { route: checkedRoute(change.route) };
    case 'shareHost':
      return { host: checkedHost(change.host), with: view.apps.get(change.with)?.name, shared: change.shared };
    case 'setOwner':
      return { owner: change.owner };
    case 'setMember':
      return { user: change.user, member: change.member };
    case 'removeNode':
    case 'restartApp':
    case 'deleteApp':
      return {};
  }
}

const shownSettings = (settings: AppSettings) => ({ settings: { ...settings, health: settings.health?.kind } });

const shown = (names: readonly string[]): string[] =>
  names.length <= NAMES_SHOWN_MAX
    ? [...names].sort()
    : [...names]
        .sort()
        .slice(0, NAMES_SHOWN_MAX)
        .concat(`and ${names.length - NAMES_SHOWN_MAX} more`);
