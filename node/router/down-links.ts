// Tells the daemon which links have been down for a while, whenever that changes. Looks only while some are.

import type { Unreached } from '../ports/gossip.ts';
import { LINK_DOWN_LOOK_INTERVAL_MS, LINK_DOWN_TOLD_AFTER_MS, LINKS_DOWN_TOLD_MAX } from './limits.ts';
import type { Upstreams } from './upstreams.ts';

/** `link`: its `host:port`. */
export type DownLink = Unreached & { link: string };

export class DownLinks {
  readonly #upstreams: Upstreams;
  readonly #tell: (links: DownLink[]) => void;
  #told = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(upstreams: Upstreams, tell: (links: DownLink[]) => void) {
    this.#upstreams = upstreams;
    this.#tell = tell;
    upstreams.onDownChange = () => this.#lookSoon();
  }

  stop(): void {
    this.#upstreams.onDownChange = () => {};
    clearTimeout(this.#timer);
  }

  #lookSoon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#look();
    }, LINK_DOWN_LOOK_INTERVAL_MS).unref();
  }

  #look(): void {
    const nowMs = performance.now();
    const links: DownLink[] = [];
    for (const { node, address: link, down } of this.#upstreams.down) {
      if (down === undefined || nowMs - down.sinceMs < LINK_DOWN_TOLD_AFTER_MS) continue;
      links.push({ node, link, why: down.why, sinceMs: nowMs - down.sinceMs });
    }
    links.length = Math.min(links.length, LINKS_DOWN_TOLD_MAX);
    const told = links.map(({ node, link, why }) => `${node} ${link} ${why}`).join();
    if (told !== this.#told) this.#tell(links);
    this.#told = told;
    if (this.#upstreams.hasDown) this.#lookSoon();
  }
}
