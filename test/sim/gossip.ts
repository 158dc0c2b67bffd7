// Twin of node/gossip on the network twin: floods what is published with a bounded fan-out, answers requests, runs
// anti-entropy; its connections are in connections.ts. What it carries is encoded and decoded by the real codec, and
// costs time to do.

import type { NodeId } from '../../crdt/ids.ts';
import type { Belief, MembershipMessage, Report } from '../../node/core/types.ts';
import { REPORT_ASK_INTERVAL_MS } from '../../node/gossip/limits.ts';
import {
  type Decoded,
  decodeChanges,
  decodeMembership,
  decodeReportNews,
  encodeChanges,
  encodeMembership,
  encodeReportNews,
  type ReportNews,
} from '../../node/gossip/messages.ts';
import { applyChange, ReportAuthor, ReportBases } from '../../node/gossip/report-changes.ts';
import { SimConnections } from './connections.ts';
import type { SimNode } from './node.ts';
import type { SimStore } from './store.ts';

type Message = {
  id: string;
  kind: 'report' | 'membership' | 'changes';
  author: number;
  bytes: Uint8Array;
  /** Decoded by whoever takes it first: nobody changes a report. */
  news?: Decoded<ReportNews>;
  /** What a change made of the base of whoever took it first; all who have the same base make the same of it. */
  made?: { base: Report; report: Report };
};
type Session = {
  id: string;
  peer: number;
  store: ReturnType<SimStore['beginSync']> | undefined;
  initiator: boolean;
  quiet: number;
  frameAtMs: number;
  over: boolean;
  done: (() => void)[];
};

/** Neighbours that a message heard for the first time is passed on to. */
const FAN_OUT = 3;
const SEEN_MAX = 4_000;
const REQUEST_OVERHEAD_BYTES = 100;
const SYNC_SILENCE_MS = 20_000;
const REPORT_REQUEST_TIMEOUT_MS = 2_000;
/** As node/admission/admitted.ts: a removed node is told of it first. */
const REMOVAL_NOTICE_MS = 300;
export class SimGossip {
  readonly #node: SimNode;
  readonly #connections: SimConnections;
  #published = 0;
  #sessions = 0;
  readonly #seen = new Set<string>();
  readonly #syncs = new Map<number, { session: Session; again: (() => void)[] | undefined }>();
  readonly #serving = new Map<string, Session>();
  readonly author = new ReportAuthor();
  readonly #bases = new ReportBases();
  readonly #askedAtMs = new Map<number, number>();
  constructor(node: SimNode) {
    this.#node = node;
    this.#connections = new SimConnections(node);
  }

  // ---------------------------------------------------------------- connections

  /** Dials every admitted node that is not connected, and closes connections to those that are admitted no more. */
  admit(): void {
    const { network } = this.#node.world;
    this.#node.later(REMOVAL_NOTICE_MS, () => {
      for (const other of network.connectedTo(this.#node.index)) {
        if (!this.#node.admits(other)) network.close(this.#node.index, other);
      }
    });
    this.#connections.dialAll();
  }

  connected(other: number): void {
    this.#connections.heard(other);
    this.#node.post({ type: 'connected', node: this.#node.world.idOf(other) });
    this.#askForReports(other);
    if (this.#node.index < other) this.sync(other);
  }

  disconnected(other: number): void {
    for (const [id, session] of [...this.#serving]) if (session.peer === other) this.#serving.delete(id);
    const running = this.#syncs.get(other);
    if (running !== undefined) this.#endSync(running.session);
    this.#node.post({ type: 'disconnected', node: this.#node.world.idOf(other) });
    this.#connections.lost(other);
  }

  probe(other: number, timeoutMs: number): void {
    this.#connections.probe(other, timeoutMs);
  }

  // ---------------------------------------------------------------- publishing

  publishReport(report: Report): void {
    const news = this.author.next(report, this.#node.localMs());
    if (!('tooLargeBytes' in news)) this.#publish('report', encodeReportNews(news));
  }

  publishMembership(message: MembershipMessage): void {
    this.#publish('membership', encodeMembership(message));
  }

  publishChanges(changes: readonly Uint8Array[]): void {
    for (const bytes of encodeChanges(changes).messages) this.#publish('changes', bytes);
  }

  #publish(kind: Message['kind'], bytes: Uint8Array): void {
    const { index, epoch } = this.#node;
    const message = { id: `${index}/${epoch}/${this.#published++}`, kind, author: index, bytes };
    this.#remember(message.id);
    this.#node.work('publish');
    for (const other of this.#node.world.network.connectedTo(index)) this.#send(other, message);
  }

  #send(to: number, message: Message): void {
    const { world, index } = this.#node;
    this.#node.work('send');
    world.network.sendLoosely(index, to, message.bytes.byteLength, () =>
      world.nodes[to]!.gossip?.receive(message, index),
    );
  }

  receive(message: Message, from: number): void {
    const { world, rng, index } = this.#node;
    this.#connections.heard(from);
    const isNew = this.#remember(message.id);
    this.#node.work(isNew ? 'message' : 'duplicate');
    // What the memory of seen messages no longer holds is heard again.
    if (!isNew && !rng.chance(world.network.conditions.duplication)) return;
    this.#take(message, from);
    if (!isNew || !this.#node.daemonUp) return;
    const others = world.network.connectedTo(index).filter((other) => other !== from && other !== message.author);
    for (const other of rng.shuffle(others).slice(0, FAN_OUT)) this.#send(other, message);
  }

  #take(message: Message, from: number): void {
    const author = this.#node.world.idOf(message.author);
    if (!this.#node.admits(message.author)) return;
    switch (message.kind) {
      case 'report': {
        message.news ??= decodeReportNews(message.bytes);
        const decoded = message.news;
        if (!decoded.ok) throw new Error(`the codec refuses a report that it encoded: ${decoded.reason}`);
        this.#takeNews(decoded.value, message);
        return;
      }
      case 'membership': {
        const decoded = decodeMembership(message.bytes);
        if (!decoded.ok) throw new Error(`the codec refuses a claim that it encoded: ${decoded.reason}`);
        if (decoded.value.from === author) this.#node.post({ type: 'membershipReceived', message: decoded.value });
        return;
      }
      case 'changes': {
        const decoded = decodeChanges(message.bytes);
        if (!decoded.ok) throw new Error(`the codec refuses changes that it encoded: ${decoded.reason}`);
        this.#node.replicator?.receive(decoded.value, from);
        return;
      }
    }
  }

  #takeNews(news: ReportNews, message: Message): void {
    const { author } = message;
    if ('report' in news) {
      this.#bases.learn(news.report);
      this.#node.takeReport(news.report);
      return;
    }
    const base = this.#bases.of(this.#node.world.idOf(author), news.change);
    if (base !== undefined) {
      if (message.made?.base !== base) message.made = { base, report: applyChange(base, news.change) };
      this.#node.takeReport(message.made.report);
      return;
    }
    const { nowMs } = this.#node.world.clock;
    if (nowMs - (this.#askedAtMs.get(author) ?? Number.NEGATIVE_INFINITY) < REPORT_ASK_INTERVAL_MS) return;
    this.#askedAtMs.set(author, nowMs);
    this.#askForReports(author);
  }

  #remember(id: string): boolean {
    if (this.#seen.has(id)) return false;
    this.#seen.add(id);
    if (this.#seen.size > SEEN_MAX) for (const oldest of this.#seen) if (this.#seen.delete(oldest)) break;
    return true;
  }

  // ---------------------------------------------------------------- requests

  /** `serve` runs on the other node, and answers through its argument; `fail` when no answer comes. */
  request<T>(
    to: number,
    options: { bytes: number; timeoutMs: number },
    serve: (other: SimNode, reply: (value: T, bytes: number) => void) => void,
    answer: (value: T) => void,
    fail: () => void,
  ): void {
    const { world, index, epoch } = this.#node;
    let over = false;
    const end = (run: () => void): void => {
      if (over || this.#node.epoch !== epoch) return;
      over = true;
      run();
    };
    const sent = world.network.sendInOrder(index, to, options.bytes + REQUEST_OVERHEAD_BYTES, () => {
      const other = world.nodes[to]!;
      const served = other.epoch;
      other.work('frame');
      serve(other, (value, bytes) => {
        if (other.epoch !== served) return;
        world.network.sendInOrder(to, index, bytes + REQUEST_OVERHEAD_BYTES, () => end(() => answer(value)));
      });
    });
    this.#node.later(sent ? options.timeoutMs : 1, () => end(fail));
  }

  /** As node/gossip/gossip.ts: who asks says what it believes, and the answer is what is so then. */
  askReport(other: number, belief: Belief): void {
    this.request<Report | undefined>(
      other,
      { bytes: JSON.stringify(belief).length, timeoutMs: REPORT_REQUEST_TIMEOUT_MS },
      (node, reply) => {
        node.post({ type: 'beliefHeard', belief });
        const report = node.gossip?.author.whole().at(-1);
        reply(report, JSON.stringify(report ?? null).length);
      },
      (report) => {
        if (report !== undefined) this.#node.takeReport(report);
      },
      () => {},
    );
  }

  #askForReports(other: number): void {
    this.request<readonly Report[]>(
      other,
      { bytes: 0, timeoutMs: REPORT_REQUEST_TIMEOUT_MS },
      (node, reply) => {
        const reports = node.gossip?.author.whole() ?? [];
        reply(reports, JSON.stringify(reports).length);
      },
      (reports) => {
        const [base, newest = base] = reports;
        if (base === undefined || newest === undefined) return;
        this.#bases.learn(base);
        this.#node.takeReport(newest);
      },
      () => {},
    );
  }

  // ---------------------------------------------------------------- anti-entropy

  /** One exchange at a time per node; a call during one is followed by one more. */
  sync(other: number, done: () => void = () => {}): void {
    const running = this.#syncs.get(other);
    if (running !== undefined) {
      running.again = [...(running.again ?? []), done];
      return;
    }
    const { store, index, world } = this.#node;
    if (store === undefined) return;
    const session = this.#newSession(`${index}>${other}/${this.#node.epoch}/${this.#sessions++}`, other, true);
    session.done.push(done);
    this.#syncs.set(other, { session, again: undefined });
    const heads = store.document.heads();
    const sent = world.network.sendInOrder(index, other, heads.join().length, () =>
      world.nodes[other]!.gossip?.serveSync(session.id, index, heads),
    );
    if (sent) this.#watchSession(session);
    else this.#node.later(1, () => this.#endSync(session));
  }

  serveSync(id: string, from: number, theirs: string[]): void {
    this.#node.work('frame');
    const { store, world, index } = this.#node;
    if (store === undefined) return;
    const heads = store.document.heads();
    const session = this.#newSession(id, from, false);
    if (heads.join() !== theirs.join()) {
      session.store = store.beginSync();
      this.#serving.set(id, session);
      this.#watchSession(session);
    }
    world.network.sendInOrder(index, from, heads.join().length, () =>
      world.nodes[from]!.gossip?.syncHello(id, index, heads),
    );
  }

  syncHello(id: string, from: number, theirs: string[]): void {
    const running = this.#syncs.get(from);
    const { store } = this.#node;
    if (running?.session.id !== id || store === undefined) return;
    const { session } = running;
    if (store.document.heads().join() === theirs.join()) {
      this.#endSync(session);
      return;
    }
    session.store = store.beginSync();
    this.#turn(session);
  }

  syncFrame(id: string, from: number, frame: Uint8Array): void {
    this.#node.work('frame');
    const session = this.#syncs.get(from)?.session.id === id ? this.#syncs.get(from)!.session : this.#serving.get(id);
    if (session?.store === undefined || session.over) return;
    session.frameAtMs = this.#node.world.clock.nowMs;
    session.quiet = frame.byteLength === 0 ? session.quiet + 1 : 0;
    const next = (): void => {
      if (session.over) return;
      if (session.quiet >= 2) this.#endSync(session);
      else this.#turn(session);
    };
    if (frame.byteLength === 0) next();
    else session.store.receive(frame, next, () => this.#endSync(session));
  }

  #turn(session: Session): void {
    const { world, index } = this.#node;
    const frame = session.store!.generate() ?? new Uint8Array(0);
    session.quiet = frame.byteLength === 0 ? session.quiet + 1 : 0;
    world.network.sendInOrder(index, session.peer, frame.byteLength, () =>
      world.nodes[session.peer]!.gossip?.syncFrame(session.id, index, frame),
    );
    if (session.quiet >= 2) this.#endSync(session);
  }

  #newSession(id: string, peer: number, initiator: boolean): Session {
    const frameAtMs = this.#node.world.clock.nowMs;
    return { id, peer, store: undefined, initiator, quiet: 0, frameAtMs, over: false, done: [] };
  }

  /** An exchange that has gone quiet is given up. */
  #watchSession(session: Session): void {
    this.#node.later(SYNC_SILENCE_MS, () => {
      if (session.over) return;
      if (this.#node.world.clock.nowMs - session.frameAtMs >= SYNC_SILENCE_MS) this.#endSync(session);
      else this.#watchSession(session);
    });
  }

  #endSync(session: Session): void {
    if (session.over) return;
    session.over = true;
    this.#serving.delete(session.id);
    const running = this.#syncs.get(session.peer);
    const isRunning = running?.session === session;
    if (isRunning) this.#syncs.delete(session.peer);
    for (const done of session.done) done();
    if (!isRunning || running.again === undefined) return;
    for (const done of running.again) this.sync(session.peer, done);
  }

  peerOf(node: NodeId): number {
    return this.#node.world.indexOf(node);
  }
}
