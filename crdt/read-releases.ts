// What the document says of an app's releases, and which of them runs. Never throws, never writes. Part of readView.

import { asDigest, asReleaseId } from './ids.ts';
import {
  AUTHOR_LENGTH_MAX,
  commandProblem,
  DESCRIPTION_LENGTH_MAX,
  DROPLET_BYTES_MAX,
  digestProblem,
  idProblem,
  PROCESS_TYPES_MAX,
  processTypeProblem,
  REASON_LENGTH_MAX,
  RELEASE_VERSION_MAX,
  RELEASES_READ_MAX,
  TIME_MS_MAX,
  TITLE_LENGTH_MAX,
} from './limits.ts';
import { readReleaseSettings } from './read-config.ts';
import { readEnv } from './read-env.ts';
import { anyText, type Entries, entriesIn, field, flag, integerIn, isMap, line, record } from './read-values.ts';
import type { Place } from './record-problems.ts';
import type { ReleaseView } from './view.ts';

export const MAKER_UNKNOWN = 'unknown';

const TIME = { max: TIME_MS_MAX, default: 0 };

/** Every release that can be run, oldest first by (version, id). */
export function readReleases(docs: Entries, place: Place): ReleaseView[] {
  const releases: ReleaseView[] = [];
  for (const [key, doc] of docs) {
    const at = place.in(key);
    const problem = releaseProblem(key, doc);
    if (problem === undefined) releases.push(readRelease(key, doc, at));
    else at.leftOut(problem);
  }
  // Entries come in the order of ids, and sorting keeps that order among equal versions.
  releases.sort((a, b) => a.version - b.version);
  for (const { id } of releases.splice(0, Math.max(0, releases.length - RELEASES_READ_MAX))) {
    place.in(id).leftOut(`at most ${RELEASES_READ_MAX} releases of an app are read, the newest`);
  }
  return releases;
}

/** Without a droplet, or an image that an engine could name, there is nothing to run. */
function releaseProblem(id: string, doc: unknown): string | undefined {
  const problem = idProblem(id);
  if (problem !== undefined) return `its id ${problem}`;
  if (!isMap(doc)) return 'must be a map';
  const digest = digestProblem(anyText(field(field(doc, 'droplet'), 'digest')));
  if (digest !== undefined) return `its droplet's digest ${digest}`;
  const image = field(doc, 'image');
  const imageId = image === undefined ? undefined : digestProblem(anyText(field(image, 'id')));
  return imageId === undefined ? undefined : `its image's id ${imageId}`;
}

function readRelease(id: string, doc: unknown, place: Place): ReleaseView {
  const droplet = field(doc, 'droplet');
  const inDroplet = place.in('droplet');
  return {
    id: asReleaseId(id),
    version: integerIn(doc, 'version', { max: RELEASE_VERSION_MAX, default: 0 }, place),
    createdAtMs: integerIn(doc, 'createdAtMs', TIME, place),
    createdBy: line(doc, 'createdBy', { lengthMax: AUTHOR_LENGTH_MAX, default: MAKER_UNKNOWN }, place),
    description: line(doc, 'description', { lengthMax: DESCRIPTION_LENGTH_MAX, default: 'push' }, place),
    droplet: {
      digest: asDigest(anyText(field(droplet, 'digest')) ?? ''),
      sizeBytes: integerIn(droplet, 'sizeBytes', { max: DROPLET_BYTES_MAX, default: 0 }, inDroplet),
      stack: line(droplet, 'stack', { lengthMax: TITLE_LENGTH_MAX, default: '' }, inDroplet),
    },
    ...readImage(field(doc, 'image'), place.in('image')),
    buildpack: line(doc, 'buildpack', { lengthMax: TITLE_LENGTH_MAX, default: '' }, place),
    processes: readProcesses(entriesIn(doc, 'processes', place), place.in('processes')),
    env: readEnv(entriesIn(doc, 'env', place), place.in('env')),
    ...readReleaseSettings(field(doc, 'settings'), place.in('settings')),
    failed: readFailure(field(doc, 'failed'), place.in('failed')),
  };
}

/**
 * The current release unless it failed; then the newest good one before it; then, as nothing better exists, the failed
 * one. A current release that is gone (rolled back to on one side, dropped as too old on the other) counts as newer
 * than all.
 */
export function releaseToRun(releases: readonly ReleaseView[], currentId: string | undefined): ReleaseView | undefined {
  const position = releases.findIndex((release) => release.id === currentId);
  const current = releases[position];
  if (current !== undefined && current.failed === undefined) return current;
  const earlier = current === undefined ? releases : releases.slice(0, position);
  return earlier.findLast((release) => release.failed === undefined) ?? current ?? releases.at(-1);
}

function readImage(doc: unknown, place: Place): Pick<ReleaseView, 'image'> {
  const id = anyText(field(doc, 'id'));
  if (id === undefined) return {};
  const ref = line(doc, 'ref', { lengthMax: TITLE_LENGTH_MAX, default: id }, place);
  return { image: { id, ref, ownCommand: flag(doc, 'ownCommand', place) } };
}

function readProcesses(docs: Entries, place: Place): Record<string, string> {
  const processes: [string, string][] = [];
  for (const [type, value] of docs) {
    const command = anyText(value);
    const problem =
      processTypeProblem(type) ??
      commandProblem(command) ??
      (processes.length < PROCESS_TYPES_MAX ? undefined : `at most ${PROCESS_TYPES_MAX} process types are allowed`);
    if (problem !== undefined || command === undefined) place.in(type).leftOut(problem ?? '');
    else processes.push([type, command]);
  }
  return record(processes);
}

function readFailure(doc: unknown, place: Place): ReleaseView['failed'] {
  if (doc === undefined) return undefined;
  if (!isMap(doc)) {
    place.leftOut('must be a map');
    return undefined;
  }
  return {
    reason: line(doc, 'reason', { lengthMax: REASON_LENGTH_MAX, default: 'unknown reason' }, place),
    atMs: integerIn(doc, 'atMs', TIME, place),
  };
}
