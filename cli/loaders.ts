// Which file does which command; loaded only when the command is used, so that help and mistakes cost nothing.

import type { Context } from './context.ts';

type Command = { run: (context: Context) => Promise<void> };

const LOADERS: Record<string, () => Promise<Command>> = {
  start: () => import('./commands/start.ts'),
  stop: () => import('./commands/stop.ts'),
  leave: () => import('./commands/leave.ts'),
  status: () => import('./commands/status.ts'),
  invite: () => import('./commands/invite.ts'),
  nodes: () => import('./commands/nodes.ts'),
  push: () => import('./commands/push.ts'),
  apps: () => import('./commands/apps.ts'),
  app: () => import('./commands/app.ts'),
  scale: () => import('./commands/scale.ts'),
  restart: () => import('./commands/restart.ts'),
  'stop-app': () => import('./commands/stop-app.ts'),
  'start-app': () => import('./commands/start-app.ts'),
  delete: () => import('./commands/delete.ts'),
  releases: () => import('./commands/releases.ts'),
  rollback: () => import('./commands/rollback.ts'),
  env: () => import('./commands/env.ts'),
  routes: () => import('./commands/routes.ts'),
  map: () => import('./commands/map.ts'),
  unmap: () => import('./commands/unmap.ts'),
  services: () => import('./commands/services.ts'),
  service: () => import('./commands/service.ts'),
  bind: () => import('./commands/bind.ts'),
  unbind: () => import('./commands/unbind.ts'),
  volumes: () => import('./commands/volumes.ts'),
  volume: () => import('./commands/volume.ts'),
  why: () => import('./commands/why.ts'),
  'what-if': () => import('./commands/what-if.ts'),
  run: () => import('./commands/run.ts'),
  exec: () => import('./commands/exec.ts'),
  logs: () => import('./commands/logs.ts'),
  events: () => import('./commands/events.ts'),
  users: () => import('./commands/users.ts'),
  login: () => import('./commands/login.ts'),
  completions: () => import('./commands/completions.ts'),
  version: () => import('./commands/version.ts'),
};

/** By the command's name; every command of the table has one, which a test checks. */
export function loadCommand(name: string): Promise<Command> {
  const load = LOADERS[name];
  if (load === undefined) throw new Error(`no file does the command ${name}`);
  return load();
}
