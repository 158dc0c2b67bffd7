// Sees to the images that a build starts from: brings those of public registries that the engine lacks, and judges
// what each has builds do. Afterwards a build names them by their ids, so that the engine fetches nothing by itself.

import type { ImageInspectInfo } from 'dockerode';
import { RuntimeError } from '../errors.ts';
import { DockerfileError } from './dockerfile.ts';
import { judgeTriggers, whyNotFetched } from './dockerfile-rules.ts';
import type { Engine } from './engine.ts';
import { parseImageName } from './image-names.ts';
import { progressOf } from './progress.ts';

const NOT_FOUND = 404;
/** Base images of one build. */
const BASE_IMAGES_MAX = 32;

/** The ids, by name. Fails with RuntimeError `build_failed`. */
export async function bringBaseImages(
  engine: Engine,
  images: readonly string[],
  options: { onLine: (text: string) => void; signal: AbortSignal },
): Promise<Map<string, string>> {
  if (images.length > BASE_IMAGES_MAX) {
    throw new RuntimeError('build_failed', `the Dockerfile names more than ${BASE_IMAGES_MAX} images: use fewer`);
  }
  const ids = new Map<string, string>();
  for (const image of images) {
    const info = (await inspectImage(engine, image)) ?? (await fetchImage(engine, image, options));
    try {
      judgeTriggers((info.Config as { OnBuild?: string[] | null } | undefined)?.OnBuild ?? []);
    } catch (error) {
      if (!(error instanceof DockerfileError)) throw error;
      throw new RuntimeError(
        'build_failed',
        `the image ${image} has a trigger for builds (ONBUILD) that is refused: ${error.message}`,
      );
    }
    ids.set(image, info.Id);
  }
  return ids;
}

/** Undefined when the engine does not have it. */
export async function inspectImage({ docker }: Engine, ref: string): Promise<ImageInspectInfo | undefined> {
  try {
    return await docker.getImage(ref).inspect();
  } catch (error) {
    // A name that an engine cannot read is one that it does not have.
    const { statusCode = 0 } = error as { statusCode?: number };
    if (statusCode === NOT_FOUND || statusCode === 400) return undefined;
    throw error;
  }
}

async function fetchImage(
  engine: Engine,
  image: string,
  { onLine, signal }: { onLine: (text: string) => void; signal: AbortSignal },
): Promise<ImageInspectInfo> {
  const why = whyNotFetched(image);
  if (why !== undefined) throw new RuntimeError('build_failed', why);
  const { host, repository, tag = 'latest', digest } = parseImageName(image)!;
  onLine(`Fetching the image ${image}`);
  try {
    const said = await engine.docker.createImage({
      fromImage: `${host ?? 'docker.io'}/${repository}`,
      tag: digest ?? tag,
      abortSignal: signal,
    } as object);
    for await (const { error } of progressOf(said as unknown as AsyncIterable<Buffer>)) {
      if (error !== undefined) throw new Error(error);
    }
    const info = await inspectImage(engine, image);
    if (info !== undefined) return info;
    throw new Error('the engine did not keep it');
  } catch (cause) {
    throw new RuntimeError('build_failed', `the image ${image} cannot be fetched: ${(cause as Error).message}`, {
      cause,
    });
  }
}
