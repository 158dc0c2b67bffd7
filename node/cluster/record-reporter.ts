// Says of each record that breaks the rules, once: what the view leaves out nobody else would miss. Decides nothing;
// the view has decided.

import { problemText } from '../../crdt/record-problems.ts';
import type { DesiredView } from '../../crdt/view.ts';
import type { ClusterEvent } from '../core/types.ts';
import type { Log } from '../lib/log.ts';

const WHAT_TO_DO =
  'run one version of Peer on all nodes; what no version wrote came from a damaged or hostile node: peer nodes remove it';

export class RecordReporter {
  readonly #log: Log;
  readonly #record: (event: ClusterEvent) => void;
  /** Of the last view: what is mended and breaks again is said again. */
  #told: ReadonlySet<string> = new Set();

  constructor(options: { log: Log; record: (event: ClusterEvent) => void }) {
    this.#log = options.log;
    this.#record = options.record;
  }

  look({ problems }: Pick<DesiredView, 'problems'>): void {
    const now = new Set<string>();
    for (const problem of problems) {
      const text = problemText(problem);
      now.add(text);
      if (this.#told.has(text)) continue;
      const message = `${text}: ${WHAT_TO_DO}`;
      this.#log.warn('desired.record_refused', { record: problem.record, message });
      this.#record({ name: 'record.refused', message });
    }
    this.#told = now;
  }
}
