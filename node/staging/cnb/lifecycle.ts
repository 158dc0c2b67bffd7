// Runs inside the sandbox, as its unprivileged user: what the specification calls the lifecycle, for Cloud Native
// Buildpacks. Detects, builds, and leaves in the droplet's folders what the app needs to start; the result is a JSON
// file for the stager.
//
//   lifecycle.ts APP LAYERS PROFILE CACHE SCRATCH RESULT [NAME FOLDER]…

import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from './build.ts';
import { findBuildpacks, nameOf } from './descriptor.ts';
import { detect } from './detect.ts';
import type { Variables } from './environment.ts';
import { LifecycleError } from './errors.ts';
import { launchScript } from './launch-script.ts';
import { resolveOrder } from './order.ts';
import { mergedProcesses } from './processes.ts';
import { type Folders, userVariables } from './scripts.ts';

const [app = '', layers = '', profile = '', cache = '', scratch = '', result = '', ...packs] = process.argv.slice(2);

/** Between the droplet's own scripts: after the variables of classic buildpacks, before those of the app. */
const LAUNCH_SCRIPT = '10-cloud-native.sh';

const run = async (): Promise<{ used: string[]; processes: Record<string, string> }> => {
  const platform = join(scratch, 'platform');
  mkdirSync(platform);
  symlinkSync(join(scratch, 'env'), join(platform, 'env'));
  const folders: Folders = { app, platform, layers, cache, scratch };
  const found = packs.filter((_, at) => at % 2 === 1).map(findBuildpacks);
  const groups = resolveOrder(
    found.map(([own]) => own),
    found.flat(),
  );
  const context = { folders, user: userVariables(platform), base: { ...process.env } as Variables };
  const members = await detect(groups, context);
  const used = members.map(({ buildpack }) => nameOf(buildpack));
  console.log(`-----> Detected: ${used.join(', ')}`);
  const { processes, parts } = await build(members, context);
  const script = launchScript(parts);
  if (script !== '') writeFileSync(join(profile, LAUNCH_SCRIPT), script);
  return { used, processes: mergedProcesses(processes) };
};

const tell = (outcome: object): void => writeFileSync(join(result, 'cloud-native.json'), JSON.stringify(outcome));

try {
  tell(await run());
} catch (error) {
  const { message } = error as Error;
  // Anything else is what a buildpack left behind: a file that cannot be read, a folder that cannot be copied.
  tell({ code: error instanceof LifecycleError ? error.code : 'buildpack_invalid', message });
  process.exitCode = 1;
}
