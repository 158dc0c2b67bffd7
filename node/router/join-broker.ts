// Matches requests to join with the daemon's answers, by id. Bounded in time; never looks into a request.

import type { NodeId } from '../../crdt/ids.ts';
import { JoinRefused } from './join-desk.ts';
import type { FromRouter, ToRouter } from './messages.ts';

type Waiting = { resolve: (reply: unknown) => void; reject: (error: JoinRefused) => void };

export class JoinBroker {
  readonly #send: (message: FromRouter) => void;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;

  constructor(send: (message: FromRouter) => void) {
    this.#send = send;
  }

  /** Resolves with the answer as JSON text. */
  async ask(request: unknown, from: NodeId, timeoutMs: number): Promise<string> {
    const id = ++this.#lastId;
    let timer: NodeJS.Timeout | undefined;
    try {
      const reply = await new Promise((resolve, reject) => {
        this.#waiting.set(id, { resolve, reject });
        timer = setTimeout(
          () => reject(new JoinRefused('timeout', 'The node did not answer in time; try again.')),
          timeoutMs,
        );
        // Both processes are of one machine, and so read one clock.
        this.#send({ type: 'join', id, request, from, untilMs: Date.now() + timeoutMs });
      });
      return JSON.stringify(reply ?? null);
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(id);
    }
  }

  settle(message: Extract<ToRouter, { type: 'joinReply' | 'joinRefused' }>): void {
    const waiting = this.#waiting.get(message.id);
    if (message.type === 'joinReply') waiting?.resolve(message.reply);
    else waiting?.reject(new JoinRefused(message.code, message.message));
  }
}
