// What each named change of keys and of sealed texts does to the document. Part of applyChange.

import type { ChangeAuthor, NamedChange } from './change.ts';
import { type Draft, drop, mapIn, put, putMap } from './draft.ts';
import { AUTHOR_LENGTH_MAX, oneLine, RESEALED_BYTES_MAX, TIME_MS_MAX } from './limits.ts';
import { anyText } from './read-values.ts';
import { fieldsOf } from './secret-places.ts';
import type { DesiredView } from './view.ts';

type Of<Kind extends NamedChange['change']> = Extract<NamedChange, { change: Kind }>;
type Applied = { author: ChangeAuthor; view: DesiredView };

export const keyEffects = {
  addKey: (doc: Draft, { key, wraps }: Of<'addKey'>, { author, view }: Applied): void => {
    const newest = [...view.keys.values()].at(-1)?.createdAtMs ?? 0;
    putMap(mapIn(doc, 'keys'), key, {
      // A writer whose clock is behind makes the newest key all the same.
      createdAtMs: Math.min(Math.max(author.atMs, newest + 1), TIME_MS_MAX),
      createdBy: oneLine(author.by, AUTHOR_LENGTH_MAX),
      wraps,
    });
  },
  wrapKeys: (doc: Draft, { node, wraps }: Of<'wrapKeys'>): void => {
    for (const [key, wrapped] of Object.entries(wraps)) put(mapIn(mapIn(doc, 'keys')[key]!, 'wraps'), node, wrapped);
  },
  dropKeys: (doc: Draft, { keys }: Of<'dropKeys'>): void => {
    for (const key of keys) drop(mapIn(doc, 'keys'), key);
  },
  reseal: (doc: Draft, { texts }: Of<'reseal'>): void => {
    let bytes = 0;
    for (const { context, from, to } of texts) {
      for (const { map, key } of fieldsOf(doc, context)) {
        if (anyText(map[key]) !== from) continue;
        bytes += to.length;
        // What is left is for the next one: a change has a bound, and a value may stand in many releases.
        if (bytes > RESEALED_BYTES_MAX) return;
        put(map, key, to);
      }
    }
  },
};
