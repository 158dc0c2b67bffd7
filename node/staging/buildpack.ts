// What a buildpack is named by, and where it comes from: a built-in name, a folder on this node, or a git repository.
// Never runs one.

import { createHash } from 'node:crypto';
import { realpath, stat } from 'node:fs/promises';
import { isAbsolute, join, sep } from 'node:path';
import { StagingError } from './errors.ts';

export type BuildpackSpec =
  | { kind: 'builtin'; name: string }
  | { kind: 'folder'; name: string; path: string }
  | { kind: 'git'; name: string; url: string; ref: string | undefined };

/** Buildpacks of one app. */
export const BUILDPACKS_MAX = 8;
const SPEC_BYTES_MAX = 2 * 1024;

const GIT_URL = /^(https?|git):\/\/[^\s]+$/;
/** What git takes as a branch, tag or commit, and never as an option or a range. */
const GIT_REF = /^(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_./+-]{0,254}$/;

export const parseBuildpackSpec = (text: string, builtins: readonly string[]): BuildpackSpec => {
  const unknown = (why: string): StagingError =>
    new StagingError(
      'buildpack_unknown',
      `buildpack ${JSON.stringify(withoutCredentials(text).slice(0, 200))}: ${why}`,
    );
  if (text.length > SPEC_BYTES_MAX || /[\0\n\r]/.test(text)) throw unknown('too long, or not one line of text');
  if (builtins.includes(text)) return { kind: 'builtin', name: text };
  if (isAbsolute(text)) return { kind: 'folder', name: text, path: text };
  const hash = text.indexOf('#');
  const url = hash === -1 ? text : text.slice(0, hash);
  const ref = hash === -1 ? undefined : text.slice(hash + 1);
  if (GIT_URL.test(url) && URL.canParse(url)) {
    if (ref !== undefined && !GIT_REF.test(ref)) throw unknown('what follows # is not a branch, tag or commit');
    return { kind: 'git', name: withoutCredentials(text), url, ref };
  }
  throw unknown(
    `expected one of ${builtins.join(', ')}, an absolute path on the node, or an https:// git URL with an optional #ref`,
  );
};

/** The folder of a buildpack on this node, all links resolved. Refuses what is no buildpack, so that no other folder can be shown to a build. */
export const resolveFolder = async (spec: { path: string }, forbidden: readonly string[]): Promise<string> => {
  const fail = (why: string): StagingError => new StagingError('buildpack_unknown', `buildpack ${spec.path}: ${why}`);
  const path = await realpath(spec.path).catch(() => {
    throw fail('no such folder on this node: check the path, or use a git URL');
  });
  for (const secret of forbidden) {
    const real = await realpath(secret).catch(() => secret);
    if (path === real || path.startsWith(real + sep) || real.startsWith(path === sep ? sep : path + sep)) {
      throw fail('this folder belongs to the node itself: put the buildpack elsewhere');
    }
  }
  const compile = await stat(join(path, 'bin', 'compile')).catch(() => undefined);
  if (!compile?.isFile()) throw fail('it has no bin/compile: give the folder of a buildpack');
  return path;
};

/** Name of a buildpack's cache folder: stable, and safe as a file name. */
export const cacheKey = (spec: BuildpackSpec): string =>
  spec.kind === 'builtin'
    ? spec.name
    : `${spec.kind}-${createHash('sha256').update(spec.name).digest('hex').slice(0, 16)}`;

/** URLs may carry a token for a private repository; it never reaches a log or a release. */
export const withoutCredentials = (text: string): string => text.replace(/^([a-z]+:\/\/)[^/@]*@/i, '$1');
