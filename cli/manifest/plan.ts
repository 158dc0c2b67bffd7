// What a file or the command line asks to push, app by app, and how the two meet: flags win over files. Pure.

import type { PushOptions } from '../../node/api/validate.ts';
import { UsageError } from '../errors.ts';

export type AppPlan = {
  /** Absent: --name, else the folder's. */
  name?: string;
  /** As written, relative to the file's folder. Absent: the folder that is pushed. */
  path?: string;
  /** An OCI image instead of a folder. */
  image?: string;
  options: PushOptions;
};

/** What the command line says of one app. */
export type AppFlags = { name?: string; image?: string; options: PushOptions };

/**
 * The apps to push, in order. Of several apps --name chooses one; of one app it is the name. Fails with UsageError
 * when what is meant for one app would apply to several.
 */
export function planOf(apps: readonly AppPlan[], flags: AppFlags): AppPlan[] {
  const [only] = apps;
  if (apps.length === 1 && only !== undefined) return [withFlags(only, flags)];
  if (flags.name !== undefined) {
    const chosen = apps.find((app) => app.name === flags.name);
    if (chosen !== undefined) return [withFlags(chosen, flags)];
    const names = apps.map((app) => app.name).join(', ');
    throw new UsageError(`--name ${flags.name}: there is no such app in the manifest, only ${names}`);
  }
  const { start, strategy, createServices, ...ofOne } = flags.options;
  const [first] = flags.image === undefined ? Object.keys(ofOne) : ['image'];
  if (first !== undefined) {
    throw new UsageError(
      `the manifest holds ${apps.length} apps, and what is given on the command line is for one: choose it with --name APP`,
    );
  }
  const forAll = {
    ...(start === undefined ? {} : { start }),
    ...(strategy === undefined ? {} : { strategy }),
    ...(createServices === undefined ? {} : { createServices }),
  };
  return apps.map((app) => withFlags(app, { options: forAll }));
}

function withFlags(app: AppPlan, { name, image, options }: AppFlags): AppPlan {
  const env = { ...app.options.env, ...options.env };
  const merged: PushOptions = { ...app.options, ...options, ...(Object.keys(env).length === 0 ? {} : { env }) };
  // --instances and --command mean the main process, which the file may have named.
  if (options.instances !== undefined && merged.scale !== undefined) merged.scale = without(merged.scale, 'web');
  if (options.randomRoute === true) delete merged.routes;
  if (options.command !== undefined && merged.commands !== undefined) merged.commands = without(merged.commands, 'web');
  return {
    ...app,
    ...(name === undefined ? {} : { name }),
    ...(image === undefined ? {} : { image }),
    options: merged,
  };
}

function without<T>(record: Readonly<Record<string, T>>, key: string): Record<string, T> {
  return Object.fromEntries(Object.entries(record).filter(([one]) => one !== key));
}
