// Decides what stages a push: buildpacks, the engine's builder, or nothing at all because it is an image already.

import type { Images } from '../ports/runtime.ts';
import type { StagedDroplet, StageRequest, Stager } from '../ports/staging.ts';

/** Nothing was staged. */
export class NoEngineError extends Error {
  readonly code = 'no_engine';
}

export async function stageWith(
  { stager, images }: { stager: Stager; images: Images | undefined },
  request: StageRequest,
): Promise<StagedDroplet> {
  const { app, image: ref, source, onLine, signal } = request;
  if (ref !== undefined) {
    if (images !== undefined) return images.pack({ ref, signal });
    throw new NoEngineError(
      'this node runs no containers, so it cannot take an image: push to a node whose runtime is docker (see peer nodes)',
    );
  }
  // Buildpacks that the push names win over the Dockerfile.
  if (request.dockerfile !== true || request.buildpacks.length > 0) return stager.stage(request);
  if (images !== undefined) return images.build({ app: app.id, source, onLine, signal });
  onLine('The folder has a Dockerfile, but this node has no container engine: staging with buildpacks');
  return stager.stage(request);
}
