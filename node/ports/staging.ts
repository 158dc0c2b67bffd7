// Ports of staging: from an app's folder to a droplet. Types only; each says what it guarantees and how it fails.

import type { AppId, Digest, NodeId } from '../../crdt/ids.ts';

export type StageRequest = {
  app: { id: AppId; name: string };
  /** A tar of the app's folder, as uploaded; not trusted. */
  source: AsyncIterable<Uint8Array>;
  /** Whether the source is compressed with gzip. Default true. */
  compressed?: boolean;
  /**
   * Built-in names, git URLs with an optional #ref, URLs of .tgz archives, what keepBuildpack said, or absolute paths
   * on this node; in order. Empty: detect.
   */
  buildpacks: string[];
  /** Instead of the source: an image that this node's engine holds. */
  image?: string;
  /** The folder has a Dockerfile, to be built when this node has a container engine. */
  dockerfile?: boolean;
  /** Start command of `web`; wins over the buildpack's and the Procfile's. */
  command?: string;
  env: Record<string, string>;
  /** Progress and the buildpacks' output, a line at a time, live. */
  onLine: (text: string) => void;
  signal: AbortSignal;
};

export type StagedDroplet = {
  digest: Digest;
  sizeBytes: number;
  stack: string;
  buildpack: string;
  processes: Record<string, string>;
  /** The droplet is the archive of this image; `processes` says what it runs by itself. */
  image?: { id: string; ref: string };
  /** Folders that the image declares as volumes. */
  imageVolumes?: string[];
};

/**
 * Fails with StagingError: a code (errors.ts of staging), one line that says what went wrong and what to do. Leaves
 * nothing behind but its cache.
 */
export interface Stager {
  stage(request: StageRequest): Promise<StagedDroplet>;
  /** Keeps a buildpack for a staging on this node within the next minutes; returns what StageRequest calls it. */
  keepBuildpack(name: string, source: AsyncIterable<Uint8Array>, sizeBytesMax: number): Promise<string>;
}

/** Build caches that other nodes hold. */
export interface CachePeers {
  /**
   * Brings the newest cache of the app that another node has, when it is newer than `version`, as a blob of this node,
   * which is the caller's to remove. Undefined: there is none, or it did not come. Never fails, and is bounded in
   * time.
   */
  bringNewer(
    app: AppId,
    options: { version: number; signal: AbortSignal },
  ): Promise<{ version: number; digest: Digest; from: NodeId } | undefined>;
}
