// What a buildpack is named by, and where it comes from: a built-in name, a git repository, an archive, one that was
// uploaded with the push, a folder on this node. Never fetches or runs one.

import { createHash } from 'node:crypto';
import { realpath, stat } from 'node:fs/promises';
import { isAbsolute, join, sep } from 'node:path';
import type { Digest } from '../../crdt/ids.ts';
import { StagingError } from './errors.ts';
import { type Credentials, sourceUrl, withoutSecrets } from './source-url.ts';

export type BuildpackSpec =
  | { kind: 'builtin'; name: string }
  | { kind: 'folder'; name: string; path: string }
  /** The URL is without credentials, the name without a query, too. */
  | { kind: 'git'; name: string; url: string; credentials?: Credentials; ref: string | undefined }
  | { kind: 'archive'; name: string; url: string; credentials?: Credentials }
  | { kind: 'upload'; name: string; digest: Digest };

/** Buildpacks of one app. */
export const BUILDPACKS_MAX = 8;
const SPEC_BYTES_MAX = 2 * 1024;

const URL_TEXT = /^(https?|git):\/\/[^\s]+$/;
const ARCHIVE_URL = /^https?:\/\/[^?#]+\.(tgz|tar\.gz)(\?[^#]*)?$/;
/** What git takes as a branch, tag or commit, and never as an option or a range. */
const GIT_REF = /^(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_./+-]{0,254}$/;
/** A blob of this node, and what people call it. */
const UPLOAD = /^upload:(sha256:[0-9a-f]{64}):([A-Za-z0-9._-]{1,100})$/;

/** What other platforms call the built-in buildpacks, where the name is not the same. */
const OTHER_NAMES: Record<string, string> = { staticfile: 'static', binary: 'procfile', jvm: 'java' };

export const uploadSpec = (digest: Digest, name: string): string => `upload:${digest}:${name}`;

export const parseBuildpackSpec = (text: string, builtins: readonly string[]): BuildpackSpec => {
  const unknown = (why: string): StagingError =>
    new StagingError('buildpack_unknown', `buildpack ${JSON.stringify(withoutSecrets(text).slice(0, 200))}: ${why}`);
  if (text.length > SPEC_BYTES_MAX || /[\0\n\r]/.test(text)) throw unknown('too long, or not one line of text');
  const builtin = builtinName(text, builtins);
  if (builtin !== undefined) return { kind: 'builtin', name: builtin };
  if (isAbsolute(text)) return { kind: 'folder', name: text, path: text };
  const [, digest, uploadName = ''] = UPLOAD.exec(text) ?? [];
  if (digest !== undefined) return { kind: 'upload', name: uploadName, digest: digest as Digest };
  const hash = text.indexOf('#');
  const url = hash === -1 ? text : text.slice(0, hash);
  const ref = hash === -1 ? undefined : text.slice(hash + 1);
  if (URL_TEXT.test(url) && URL.canParse(url)) {
    if (/\.(zip|cnb)(\?.*)?$/.test(url)) throw unknown('a buildpack comes as a .tgz archive or from git, not as this');
    const source = sourceUrl(url);
    if (source === undefined) throw unknown('its user name or password is not text on one line, with %XX where needed');
    const { shown, ...from } = source;
    if (ARCHIVE_URL.test(text)) return { kind: 'archive', name: shown, ...from };
    if (ref !== undefined && !GIT_REF.test(ref)) throw unknown('what follows # is not a branch, tag or commit');
    return { kind: 'git', name: ref === undefined ? shown : `${shown}#${ref}`, ...from, ref };
  }
  throw unknown(
    `expected one of ${builtins.join(', ')}, a folder or .tgz file, the URL of a .tgz, or an https:// git URL with an optional #ref`,
  );
};

/**
 * `nodejs`, and what Heroku (`heroku/nodejs`, with `urn:buildpack:` in front) and Cloud Foundry (`nodejs_buildpack`)
 * call it.
 */
const builtinName = (text: string, builtins: readonly string[]): string | undefined => {
  if (builtins.includes(text)) return text;
  const [, heroku, cloudFoundry] =
    /^(?:urn:buildpack:)?heroku\/([a-z]+)$|^([a-z]+)_buildpack$/.exec(text.toLowerCase()) ?? [];
  const name = heroku ?? cloudFoundry ?? '';
  const own = OTHER_NAMES[name] ?? name;
  return builtins.includes(own) ? own : undefined;
};

/**
 * The folder of a buildpack on this node, all links resolved. Refuses what is no buildpack, so that no other folder
 * can be shown to a build.
 */
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
  const marks = ['bin/compile', 'bin/finalize', 'bin/supply', 'buildpack.toml'];
  const found = await Promise.all(marks.map((mark) => stat(join(path, mark)).catch(() => undefined)));
  if (!found.some((mark) => mark?.isFile())) {
    throw fail('it has no bin/compile and no buildpack.toml: give the folder of a buildpack');
  }
  return path;
};

/** Name of a buildpack's cache folder: stable, and safe as a file name. */
export const cacheKey = (spec: BuildpackSpec): string =>
  spec.kind === 'builtin'
    ? spec.name
    : `${spec.kind}-${createHash('sha256').update(spec.name).digest('hex').slice(0, 16)}`;
