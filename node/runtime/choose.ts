// Decides which runtime this node runs instances with, and makes it: containers where an engine can run droplets, else
// the sandbox of this machine. What was asked for by name is made or refused, never replaced.

import { join } from 'node:path';
import type { Log } from '../lib/log.ts';
import type { CommandRunner } from '../ports/commands.ts';
import type { Freezer, Runtime, UsageMeter } from '../ports/runtime.ts';
import { findEngine } from './docker/engine.ts';
import { clearEngines, rememberEngine } from './docker/leftovers.ts';
import { createDockerRuntime, type DockerRuntimeOptions } from './docker/runtime.ts';
import { createProcessRuntime, type ProcessRuntimeOptions } from './process/runtime.ts';
import { type ServiceInstances, withServices } from './with-services.ts';

/** In the data directory. */
const SERVICES_FOLDER = 'services';

export type RuntimeChoice = 'auto' | 'docker' | 'process';

export type ChooseOptions = Omit<ProcessRuntimeOptions, 'log' | 'pourBlob'> &
  Omit<DockerRuntimeOptions, 'engine' | 'log'> & { wanted: RuntimeChoice; log: Log };

/**
 * Services, where the node has any, run in the sandbox whatever runs the apps. Fails with RuntimeError
 * `engine_missing` or `engine_unusable` when containers were asked for by name.
 */
export async function chooseRuntime(options: ChooseOptions): Promise<Runtime & CommandRunner & UsageMeter & Freezer> {
  if (options.services === undefined) return chooseForApps(options);
  const running: ServiceInstances = new Set();
  const apps = await chooseForApps({ ...options, services: undefined, isOthers: (id) => running.has(id) });
  const { isolation, blobs } = options;
  const services = await createProcessRuntime({
    ...options,
    // Folders of their own, so that none is taken for a leftover by a runtime of apps, whichever that is.
    isolation: { ...isolation, dataDir: join(isolation.dataDir, SERVICES_FOLDER) },
    adoptsFirst: true,
    pourBlob: (...asks) => blobs.pour(...asks),
  });
  return withServices({ apps, services, running });
}

async function chooseForApps(options: ChooseOptions): Promise<Runtime & CommandRunner & UsageMeter & Freezer> {
  const { wanted, stack, log, nodeId, isolation } = options;
  const place = { dataDir: isolation.dataDir, nodeId, log };
  const sandbox = async (): Promise<Runtime & CommandRunner & UsageMeter & Freezer> => {
    await clearEngines(place, undefined);
    return createProcessRuntime({ ...options, pourBlob: (...asks) => options.blobs.pour(...asks) });
  };
  if (wanted === 'process') return sandbox();
  try {
    const engine = await findEngine();
    await rememberEngine(place, engine);
    await clearEngines(place, engine);
    const runtime = await createDockerRuntime({ ...options, engine });
    if (runtime.stacks.includes(stack)) return runtime;
    const message = `the engine has no image of this machine's stack ${stack}, so droplets cannot run in containers: run 'npm run stack' and start this node again`;
    if (wanted === 'docker') {
      log.warn('runtime.no_stack', { message });
      return runtime;
    }
    await runtime.close({ keepInstances: false });
    log.info('runtime.sandbox_chosen', { message });
  } catch (error) {
    if (wanted === 'docker') throw error;
    log.info('runtime.sandbox_chosen', { message: error instanceof Error ? error.message : String(error) });
  }
  return sandbox();
}
