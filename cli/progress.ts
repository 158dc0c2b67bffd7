// What a long command is doing, on stderr: a spinner with timings on a terminal, plain lines elsewhere.

import { formatTook } from './format.ts';
import type { Output } from './output.ts';
import { printable } from './table.ts';

export type Progress = {
  /** A new step begins, which ends the one before. */
  step(text: string): void;
  /** The current step goes on. */
  update(text: string): void;
  /** A line of its own: output of staging, a crash. */
  line(text: string): void;
  /** All is done, or all has failed; nothing may come after. */
  end(outcome: 'done' | 'failed'): void;
};

export async function createProgress(output: Output): Promise<Progress> {
  return process.stderr.isTTY === true ? spinningProgress(output) : plainProgress(output);
}

function plainProgress(output: Output): Progress {
  let last = '';
  const say = (text: string) => {
    if (text !== last) output.note(text);
    last = text;
  };
  return { step: say, update: say, line: (text) => output.note(`  ${printable(text)}`), end: () => {} };
}

async function spinningProgress(output: Output): Promise<Progress> {
  const { default: yoctoSpinner } = await import('yocto-spinner');
  const spinner = yoctoSpinner({ stream: process.stderr });
  const { green, red, dim } = output.errorColours;
  let step: { text: string; startedAtMs: number } | undefined;
  const finish = (mark: string) => {
    if (step === undefined) return;
    spinner.stop();
    output.note(`${mark} ${step.text} ${dim(formatTook(performance.now() - step.startedAtMs))}`);
    step = undefined;
  };
  const progress: Progress = {
    step(text) {
      finish(green('✔'));
      step = { text, startedAtMs: performance.now() };
      spinner.start(text);
    },
    update(text) {
      if (step === undefined) return progress.step(text);
      step.text = text;
      spinner.text = text;
    },
    line(text) {
      spinner.stop();
      output.note(`  ${dim(printable(text))}`);
      if (step !== undefined) spinner.start(step.text);
    },
    end(outcome) {
      finish(outcome === 'done' ? green('✔') : red('✖'));
      spinner.stop();
    },
  };
  return progress;
}
