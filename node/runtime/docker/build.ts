// Builds the Dockerfile of a pushed folder with the engine's own builder, within limits, on the network of the app
// that it is for: it reaches the internet and nothing of this machine. The engine itself, which would reach all that
// the machine reaches, fetches nothing while it builds.

import type Docker from 'dockerode';
import type { AppId } from '../../../crdt/ids.ts';
import { formatBytes } from '../../lib/format-bytes.ts';
import type { Images } from '../../ports/runtime.ts';
import { RuntimeError } from '../errors.ts';
import { bringBaseImages } from './base-images.ts';
import { contextWith, DOCKERFILE } from './context.ts';
import { DockerfileError } from './dockerfile.ts';
import { planBuild } from './dockerfile-rules.ts';
import type { Engine } from './engine.ts';
import { NODE_LABEL } from './labels.ts';
import { progressOf } from './progress.ts';

export const BUILD_TIMEOUT_MS = 15 * 60_000;
const BUILD_MEMORY_BYTES = 1024 ** 3;
const BUILD_FILE_BYTES_MAX = 2 * 1024 ** 3;
/** Share of one processor's time, in the kernel's microseconds. */
const CPU_PERIOD_US = 100_000;
const CPU_QUOTA_US = 200_000;
/** What a build says beyond it is left out. */
const BUILD_OUTPUT_CHARACTERS_MAX = 4 * 1024 * 1024;
/** Builds at a time; each may take the limits above. */
const BUILDS_MAX = 2;

const BUILD_LIMITS = [
  { Name: 'core', Soft: 0, Hard: 0 },
  { Name: 'fsize', Soft: BUILD_FILE_BYTES_MAX, Hard: BUILD_FILE_BYTES_MAX },
] as const;
/** Podman takes them here, and only here, as its command line does. */
const asOption = ({ Name, Soft, Hard }: (typeof BUILD_LIMITS)[number]): string => `${Name}=${Soft}:${Hard}`;

export type BuildPlace = {
  node: string;
  networks: { acquire(app: AppId): Promise<string>; release(app: AppId): Promise<void> };
};

let building = 0;

/**
 * Resolves with the image's id. Fails with RuntimeError `build_failed`, `time_limit`, `busy`; the engine keeps nothing
 * but its cache then.
 */
export async function buildImage(
  engine: Engine,
  request: Parameters<Images['build']>[0],
  place: BuildPlace,
): Promise<string> {
  if (building >= BUILDS_MAX) {
    throw new RuntimeError(
      'busy',
      `${BUILDS_MAX} images are being built on this node already: push again later, or to another`,
    );
  }
  building++;
  const timeout = AbortSignal.timeout(request.timeoutMs ?? BUILD_TIMEOUT_MS);
  const { app } = request;
  try {
    const network = await place.networks.acquire(app);
    try {
      return await build(engine, request, {
        network,
        node: place.node,
        signal: AbortSignal.any([request.signal, timeout]),
      });
    } finally {
      await place.networks.release(app);
    }
  } catch (error) {
    if (timeout.aborted) {
      const minutes = (request.timeoutMs ?? BUILD_TIMEOUT_MS) / 60_000;
      throw new RuntimeError(
        'time_limit',
        `the image was not built within ${minutes} min: make the Dockerfile do less`,
      );
    }
    if (request.signal.aborted) throw new RuntimeError('aborted', 'the build was given up');
    if (error instanceof RuntimeError) throw error;
    if (error instanceof DockerfileError) {
      throw new RuntimeError('build_failed', `the Dockerfile is refused: ${error.message}`, { cause: error });
    }
    const message = (error as Error).message;
    throw new RuntimeError('build_failed', `the image cannot be built: ${message}`, { cause: error });
  } finally {
    building--;
  }
}

async function build(
  engine: Engine,
  request: Parameters<Images['build']>[0],
  place: { network: string; node: string; signal: AbortSignal },
): Promise<string> {
  const { docker, kind } = engine;
  let refusal: unknown;
  const context = contextWith(request.source, async (text) => {
    const plan = planBuild(text);
    const ids = await bringBaseImages(engine, plan.images, { onLine: request.onLine, signal: place.signal });
    return plan.write((image) => ids.get(image)!);
  });
  // The engine would wait for the rest.
  const refused = new AbortController();
  context.on('error', (error) => {
    refusal = error;
    refused.abort();
  });
  const signal = AbortSignal.any([place.signal, refused.signal]);
  try {
    return await follow(request, docker.buildImage(context, optionsOf(kind, { ...place, signal })));
  } catch (error) {
    throw refusal ?? error;
  } finally {
    context.destroy();
  }
}

function optionsOf(
  kind: Engine['kind'],
  place: { network: string; node: string; signal: AbortSignal },
): Docker.ImageBuildOptions {
  return {
    dockerfile: DOCKERFILE,
    version: '1',
    pull: undefined as never,
    rm: true,
    forcerm: true,
    memory: BUILD_MEMORY_BYTES,
    memswap: BUILD_MEMORY_BYTES,
    cpuperiod: CPU_PERIOD_US,
    cpuquota: CPU_QUOTA_US,
    networkmode: place.network,
    // Tells what this node built from what its operator did.
    labels: { [NODE_LABEL]: place.node },
    ulimits: JSON.stringify(kind === 'podman' ? BUILD_LIMITS.map(asOption) : BUILD_LIMITS),
    abortSignal: place.signal,
  } as Docker.ImageBuildOptions;
}

/** Passes on what the engine says until it has built the image; resolves with its id. */
async function follow(
  request: Parameters<Images['build']>[0],
  building: Promise<NodeJS.ReadableStream>,
): Promise<string> {
  const said = await building;
  let left = BUILD_OUTPUT_CHARACTERS_MAX;
  let id: string | undefined;
  for await (const { stream = '', error, aux } of progressOf(said as unknown as AsyncIterable<Buffer>)) {
    if (error !== undefined) throw new RuntimeError('build_failed', `the Dockerfile failed: ${oneLine(error)}`);
    id = aux?.ID ?? id;
    for (const line of stream.split('\n')) {
      if (line.trim() === '' || left <= 0) continue;
      left -= line.length;
      request.onLine(
        left > 0 ? line.trimEnd() : `(more than ${formatBytes(BUILD_OUTPUT_CHARACTERS_MAX)} of output left out)`,
      );
    }
  }
  if (id === undefined) throw new RuntimeError('build_failed', 'the engine ended the build without an image');
  return id;
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}
