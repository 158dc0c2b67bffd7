// What stands in the document and may not: collected while a view is read, so that whoever holds the view can say it.
// Says where, what the rule is, and what the reader did instead; never a value, which may be secret.

import { oneLine } from './limits.ts';

export type RecordProblem = {
  /** Where in the document: `apps/ID`, `apps/ID/env/NAME`. Keys that are not plain are quoted. */
  readonly record: string;
  /** One clause that fits after "RECORD: ". */
  readonly problem: string;
  /**
   * The record is missing from the view, or its default (or the nearest value that is allowed) stands in its place.
   */
  readonly outcome: 'left out' | 'replaced';
};

/** `apps/x:y: its id must be …; it is left out` */
export const problemText = ({ record, problem, outcome }: RecordProblem): string =>
  `${record}: ${problem}; ${outcome === 'left out' ? 'it is left out' : 'a value that is allowed stands in its place'}`;

/** More are counted, in a last entry. */
export const RECORD_PROBLEMS_MAX = 100;
const KEY_SHOWN_LENGTH_MAX = 80;
const PLAIN_KEY = /^[\w.:@*-]{1,128}$/;

export class RecordProblems {
  readonly #found: RecordProblem[] = [];
  #more = 0;

  add(problem: RecordProblem): void {
    if (this.#found.length < RECORD_PROBLEMS_MAX) this.#found.push(problem);
    else this.#more++;
  }

  list(): readonly RecordProblem[] {
    if (this.#more === 0) return this.#found;
    return [
      ...this.#found,
      { record: '…', problem: `${this.#more} more do not keep to the rules`, outcome: 'left out' },
    ];
  }
}

/** A place in the document while it is read. Its path is only spelt out when there is something to say. */
export class Place {
  readonly #problems: RecordProblems;
  readonly #key: string;
  readonly #parent: Place | undefined;

  constructor(problems: RecordProblems, key: string, parent?: Place) {
    this.#problems = problems;
    this.#key = key;
    this.#parent = parent;
  }

  in(key: string): Place {
    return new Place(this.#problems, key, this);
  }

  leftOut(problem: string): void {
    this.#problems.add({ record: this.#path(), problem, outcome: 'left out' });
  }

  replaced(problem: string): void {
    this.#problems.add({ record: this.#path(), problem, outcome: 'replaced' });
  }

  #path(): string {
    const key = shownKey(this.#key);
    return this.#parent === undefined ? key : `${this.#parent.#path()}/${key}`;
  }
}

function shownKey(key: string): string {
  if (PLAIN_KEY.test(key)) return key;
  return oneLine(JSON.stringify(key.slice(0, KEY_SHOWN_LENGTH_MAX)), KEY_SHOWN_LENGTH_MAX);
}
