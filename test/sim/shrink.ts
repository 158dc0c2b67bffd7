// Makes a failing schedule smaller: leaves actions out as long as the same checker still fails. Delta debugging over
// the list of actions; the seed and the shape stay, and with them everything that is drawn from the seed.
// @see Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002

import { run, type Scenario } from './run.ts';

/** Runs that shrinking may take; each is a whole simulation. */
const RUNS_MAX = 400;

/** Numbers of the actions of the scenario that are enough for the failure, ascending. */
export function shrink(scenario: Scenario, checker: string, keep: readonly number[]): number[] {
  let runs = 0;
  const fails = (kept: readonly number[]): boolean => {
    runs++;
    return run(keeping(scenario, kept)).violation?.checker === checker;
  };
  let kept = [...keep];
  let parts = 2;
  while (kept.length > 0 && runs < RUNS_MAX) {
    const size = Math.max(1, Math.ceil(kept.length / parts));
    let smaller: number[] | undefined;
    for (let from = 0; from < kept.length && runs < RUNS_MAX; from += size) {
      const rest = [...kept.slice(0, from), ...kept.slice(from + size)];
      if (!fails(rest)) continue;
      smaller = rest;
      break;
    }
    if (smaller !== undefined) {
      kept = smaller;
      parts = Math.max(2, parts - 1);
    } else if (size === 1) {
      break;
    } else {
      parts = Math.min(kept.length, parts * 2);
    }
  }
  return kept;
}

/** The scenario with only these of its actions. */
export function keeping(scenario: Scenario, keep: readonly number[]): Scenario {
  const wanted = new Set(keep);
  return { ...scenario, actions: scenario.actions.filter((_, index) => wanted.has(index)) };
}
