// Builds with a group of buildpacks: one after the other, each in the environment that the layers of those before it
// make.

import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'smol-toml';
import { list, nameOf, readToml, table, text } from './descriptor.ts';
import { applyChange, buildChanges, type Variables } from './environment.ts';
import { LifecycleError } from './errors.ts';
import type { LaunchPart } from './launch-script.ts';
import { type Layer, Layers } from './layers.ts';
import { type Chosen, OpenPlan } from './plan.ts';
import { type Process, processesOf } from './processes.ts';
import { type Folders, runScript, scriptEnvironment } from './scripts.ts';

/** Fails with `build_failed` or `buildpack_invalid`; the cache is then as it was. */
export const build = async (
  members: readonly Chosen[],
  context: { folders: Folders; user: Variables; base: Variables },
): Promise<{ processes: Process[]; parts: LaunchPart[] }> => {
  const { folders } = context;
  const plan = new OpenPlan(members);
  const variables: Variables = { ...context.base };
  const processes: Process[] = [];
  const built: { layers: Layers; kept: Layer[]; api: number }[] = [];
  for (const { buildpack } of members) {
    const layers = new Layers({ buildpack, layersDir: folders.layers, cacheDir: folders.cache });
    layers.restore();
    const planPath = join(folders.scratch, 'build-plan.toml');
    writeFileSync(planPath, stringify({ entries: plan.entriesFor(buildpack.id) }));
    console.log(`-----> Buildpack: ${nameOf(buildpack)}`);
    const { status } = await runScript(buildpack, {
      script: 'build',
      args: [layers.dir, folders.platform, planPath],
      app: folders.app,
      env: scriptEnvironment(buildpack, {
        layers: variables,
        user: context.user,
        folders,
        own: { CNB_LAYERS_DIR: layers.dir, CNB_BP_PLAN_PATH: planPath },
      }),
      output: 'shown',
    });
    if (status !== 0) {
      throw new LifecycleError(
        'build_failed',
        `buildpack ${nameOf(buildpack)}: bin/build failed (exit status ${status ?? 'unknown'})`,
      );
    }
    const unmet = list(readToml(layers.path('build.toml')).unmet).flatMap((entry) => text(table(entry).name) ?? []);
    plan.met(buildpack.id, unmet);
    processes.push(...processesOf(buildpack, readToml(layers.path('launch.toml'))));
    const kept = layers.read();
    layers.complete(kept);
    const forBuild = kept.filter((layer) => layer.build).map(({ name }) => layers.path(name));
    for (const change of buildChanges(forBuild)) applyChange(variables, change);
    built.push({ layers, kept, api: buildpack.api });
  }

  saveAll(built, folders.cache);
  const parts = built.map(({ layers, kept, api }): LaunchPart => {
    layers.keepForLaunch(kept);
    return { api, layers: kept.filter(({ launch }) => launch).map(({ name }) => layers.path(name)) };
  });
  return { processes, parts };
};

/** The new cache takes the place of the old one as a whole; what layers the group no longer has go with it. */
const saveAll = (built: readonly { layers: Layers; kept: Layer[] }[], cache: string): void => {
  const next = `${cache}.next`;
  rmSync(next, { recursive: true, force: true });
  mkdirSync(next, { recursive: true });
  for (const { layers, kept } of built) layers.save(kept, next);
  rmSync(cache, { recursive: true, force: true });
  renameSync(next, cache);
};
