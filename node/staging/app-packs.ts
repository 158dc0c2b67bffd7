// Which buildpacks an app asks for by itself: its `.buildpacks` file, or the list in its `app.json`. Pure; the files
// are hostile, and what they name may come from the network only, never from a path on the node.

import { isAbsolute } from 'node:path';
import { BUILDPACKS_MAX } from './buildpack.ts';
import { StagingError } from './errors.ts';

/** What to stage with and which file said so; undefined when the app does not say. */
export const packsOfApp = (files: {
  buildpacks: string | undefined;
  appJson: string | undefined;
}): { packs: string[]; from: '.buildpacks' | 'app.json' } | undefined => {
  const listed = linesOf(files.buildpacks ?? '');
  if (listed.length > 0) return { packs: checked(listed, '.buildpacks'), from: '.buildpacks' };
  const named = packsOfAppJson(files.appJson);
  return named.length > 0 ? { packs: checked(named, 'app.json'), from: 'app.json' } : undefined;
};

/** One buildpack a line; blank lines and comments are left out. */
const linesOf = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));

/** `{ "buildpacks": [{ "url": "…" }] }`; an app.json for other things, or none, names nothing. */
const packsOfAppJson = (text: string | undefined): string[] => {
  if (text === undefined) return [];
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (error) {
    throw new StagingError('app_json_invalid', `app.json is not valid JSON: ${(error as Error).message}; correct it`, {
      cause: error,
    });
  }
  const { buildpacks } = (document ?? {}) as { buildpacks?: unknown };
  if (buildpacks === undefined || buildpacks === null) return [];
  if (!Array.isArray(buildpacks)) throw badEntry();
  return buildpacks.map((entry: unknown) => {
    const { url } = (entry ?? {}) as { url?: unknown };
    if (typeof url !== 'string' || url.trim() === '') throw badEntry();
    return url.trim();
  });
};

const badEntry = (): StagingError =>
  new StagingError(
    'app_json_invalid',
    'app.json: `buildpacks` should be a list of objects with a `url`, such as { "url": "heroku/nodejs" }',
  );

const checked = (packs: string[], file: string): string[] => {
  if (packs.length > BUILDPACKS_MAX) {
    throw new StagingError(
      'buildpack_unknown',
      `${file} names ${packs.length} buildpacks: at most ${BUILDPACKS_MAX} are allowed`,
    );
  }
  const local = packs.find((pack) => isAbsolute(pack) || /^(\.|upload:)/.test(pack));
  if (local !== undefined) {
    throw new StagingError(
      'buildpack_unknown',
      `${file} names ${JSON.stringify(local.slice(0, 200))}: only built-in names, git URLs and URLs of .tgz archives can stand there; give a folder with --buildpack`,
    );
  }
  return packs;
};
