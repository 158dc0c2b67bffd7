// Where what is in a blob store's folder. Names only.
//
//   manifests/<digest>      a blob that is whole; it appears last
//   passing/<digest>        the same, of content that is there for a while only: sources of pushes
//   packs/<id>              chunks, one after the other; never changed once it is there, only removed
//   incoming/               what is not whole yet: <digest>.pack and .log of downloads, that go on where they were cut

import { join } from 'node:path';
import type { Digest } from '../../crdt/ids.ts';
import { BlobError } from './errors.ts';
import type { PackId } from './manifest.ts';

/** `kept`: until it is removed. `passing`: may go when room is needed, and is not told to other nodes. */
export type Stay = 'kept' | 'passing';

export type Layout = {
  root: string;
  manifests: Record<Stay, string>;
  packs: string;
  incoming: string;
  manifest(digest: Digest, stay: Stay): string;
  pack(id: PackId): string;
};

const DIGEST = /^sha256:([0-9a-f]{64})$/;
const HEX = /^[0-9a-f]{64}$/;

export const layoutOf = (root: string): Layout => {
  const manifests = { kept: join(root, 'manifests'), passing: join(root, 'passing') };
  const packs = join(root, 'packs');
  return {
    root,
    manifests,
    packs,
    incoming: join(root, 'incoming'),
    manifest: (digest, stay) => join(manifests[stay], hexOf(digest)),
    pack: (id) => join(packs, id),
  };
};

/** Fails with BlobError `bad_digest`. */
export const hexOf = (digest: Digest): string => {
  const hex = DIGEST.exec(digest)?.[1];
  if (hex !== undefined) return hex;
  throw new BlobError('bad_digest', `"${digest}" is not a digest: expected sha256:<64 hex digits>`);
};

export const digestOfName = (name: string): Digest | undefined =>
  HEX.test(name) ? (`sha256:${name}` as Digest) : undefined;
