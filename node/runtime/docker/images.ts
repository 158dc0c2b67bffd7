// Images as blobs: packs one that the engine holds into the store, and loads one of the store into the engine before
// an instance of it starts. An archive's layers stand in it as they are, so images that share layers share chunks of
// the store. Takes away what it loaded once the blob has gone.

import { readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import type { ImageInspectInfo } from 'dockerode';
import writeFileAtomic from 'write-file-atomic';
import type { Digest } from '../../../crdt/ids.ts';
import { formatBytes } from '../../lib/format-bytes.ts';
import type { Log } from '../../lib/log.ts';
import type { BlobStore } from '../../ports/blobs.ts';
import type { Images } from '../../ports/runtime.ts';
import type { StagedDroplet } from '../../ports/staging.ts';
import { RuntimeError } from '../errors.ts';
import { inspectImage } from './base-images.ts';
import { type BuildPlace, buildImage } from './build.ts';
import type { Engine } from './engine.ts';
import { imageStack, ownCommand, volumes } from './image-config.ts';
import { progressOf } from './progress.ts';

/** Of the archive of one image. */
const IMAGE_BYTES_MAX = 4 * 1024 ** 3;
const PACK_TIMEOUT_MS = 10 * 60_000;
const LOAD_TIMEOUT_MS = 10 * 60_000;
const NOT_FOUND = 404;

export type ImagesOptions = {
  engine: Engine;
  blobs: Pick<BlobStore, 'has' | 'read' | 'put' | 'onChange'>;
  /** Remembers what this node brought into the engine. */
  file: string;
  log: Log;
  /** Network, limits and labels of builds. */
  place: BuildPlace;
};

export async function openImages(options: ImagesOptions): Promise<EngineImages> {
  const text = await readFile(options.file, 'utf8').catch(() => '{}');
  let known: Record<string, string> = {};
  try {
    known = JSON.parse(text) as Record<string, string>;
  } catch {
    options.log.warn('runtime.images_forgotten', { file: options.file });
  }
  return new EngineImages(options, new Map(Object.entries(known) as [Digest, string][]));
}

export class EngineImages implements Images {
  readonly #options: ImagesOptions;
  /** Blob → id of the image that this node brought into the engine. */
  readonly #brought: Map<Digest, string>;
  readonly #loading = new Map<string, Promise<void>>();
  #working: Promise<void> = Promise.resolve();

  constructor(options: ImagesOptions, brought: Map<Digest, string>) {
    this.#options = options;
    this.#brought = brought;
    options.blobs.onChange(() => this.#collectSoon());
    this.#collectSoon();
  }

  async pack({ ref, signal }: Parameters<Images['pack']>[0]): Promise<StagedDroplet> {
    const image = await this.inspect(ref);
    if (image === undefined) {
      throw new RuntimeError(
        'image_unknown',
        `the engine of this node has no image ${ref}: load it there (docker load, docker build), or push to a node that has it`,
      );
    }
    return this.#pack(image, ref, signal);
  }

  async build(request: Parameters<Images['build']>[0]): Promise<StagedDroplet> {
    const id = await buildImage(this.#options.engine, request, this.#options.place);
    const image = await this.inspect(id);
    if (image === undefined) throw new RuntimeError('build_failed', 'the engine lost the image that it built');
    const staged = await this.#pack(image, 'Dockerfile', request.signal);
    await this.#remember(staged.digest, id);
    return staged;
  }

  /** Makes sure that the engine has the image of a blob that is held. Fails with RuntimeError. */
  ensure(digest: Digest, id: string): Promise<ImageInspectInfo> {
    const loading = this.#loading.get(id) ?? this.#load(digest, id).finally(() => this.#loading.delete(id));
    this.#loading.set(id, loading);
    return loading.then(async () => {
      const image = await this.inspect(id);
      if (image !== undefined) return image;
      throw new RuntimeError('droplet_unpack_failed', `the archive ${digest} does not hold the image ${id}`);
    });
  }

  inspect(ref: string): Promise<ImageInspectInfo | undefined> {
    return inspectImage(this.#options.engine, ref);
  }

  async #pack(image: ImageInspectInfo, ref: string, signal: AbortSignal): Promise<StagedDroplet> {
    const { engine, blobs } = this.#options;
    const size = image.Size ?? 0;
    if (size > IMAGE_BYTES_MAX) {
      throw new RuntimeError(
        'image_too_large',
        `the image ${ref} has ${formatBytes(size)}, more than ${formatBytes(IMAGE_BYTES_MAX)}: make it smaller`,
      );
    }
    // By its id, so that the archive is the same whatever the image is called here.
    const archive = (await engine.docker.getImage(image.Id).get()) as unknown as Readable;
    const stop = AbortSignal.any([signal, AbortSignal.timeout(PACK_TIMEOUT_MS)]);
    const abort = (): void => void archive.destroy(new Error('packing the image took too long, or was given up'));
    stop.addEventListener('abort', abort, { once: true });
    try {
      const stored = await blobs.put(archive, { sizeBytesMax: 2 * IMAGE_BYTES_MAX });
      const command = ownCommand(image);
      return {
        ...stored,
        stack: imageStack(image.Architecture),
        buildpack: 'image',
        processes: command === undefined ? {} : { web: command },
        image: { id: image.Id, ref },
        imageVolumes: volumes(image).map((path) => path.replace(/\/+$/, '')),
      };
    } finally {
      stop.removeEventListener('abort', abort);
      archive.destroy();
    }
  }

  async #load(digest: Digest, id: string): Promise<void> {
    if ((await this.inspect(id)) !== undefined) return;
    const { engine, blobs } = this.#options;
    if (!blobs.has(digest)) throw new RuntimeError('droplet_missing', `this node does not hold the image ${digest}`);
    const archive = Readable.from(blobs.read(digest), { objectMode: false });
    const timeout = AbortSignal.timeout(LOAD_TIMEOUT_MS);
    const abort = (): void =>
      void archive.destroy(new Error(`loading took longer than ${LOAD_TIMEOUT_MS / 60_000} min`));
    timeout.addEventListener('abort', abort, { once: true });
    try {
      // Before it is there: what a daemon that is killed now has loaded is taken away by the next.
      await this.#remember(digest, id);
      const said = await engine.docker.loadImage(archive, { quiet: true });
      for await (const { error } of progressOf(said as AsyncIterable<Buffer>)) {
        if (error !== undefined)
          throw new RuntimeError('droplet_unpack_failed', `the engine refuses the image: ${error}`);
      }
    } finally {
      timeout.removeEventListener('abort', abort);
      archive.destroy();
    }
  }

  async #remember(digest: Digest, id: string): Promise<void> {
    this.#brought.set(digest, id);
    await this.#save();
  }

  #save(): Promise<void> {
    const text = JSON.stringify(Object.fromEntries(this.#brought));
    return writeFileAtomic(this.#options.file, text, { mode: 0o600 });
  }

  #collectSoon(): void {
    this.#working = this.#working
      .then(() => this.#collect())
      .catch((error: Error) => {
        this.#options.log.warn('runtime.images_not_collected', { error: error.message });
      });
  }

  /** Images whose blob has gone; one that a container still uses is tried again at the next change. */
  async #collect(): Promise<void> {
    const { engine, blobs, log } = this.#options;
    for (const [digest, id] of this.#brought) {
      if (blobs.has(digest) || this.#loading.has(id)) continue;
      try {
        await engine.docker.getImage(id).remove();
        log.info('runtime.image_removed', { image: id });
      } catch (error) {
        if ((error as { statusCode?: number }).statusCode !== NOT_FOUND) continue;
      }
      this.#brought.delete(digest);
      await this.#save();
    }
  }
}
