// Publishes and receives the three gossip topics. Decides which messages are believed: well-formed, authored by the
// admitted node they speak for, and newer than what is known. Everything else is dropped here, counted, and not passed
// on.

import { type Message, TopicValidatorResult } from '@chainsafe/libp2p-gossipsub';
import type { PeerId } from '@libp2p/interface';
import type { ClusterId, NodeId } from '../../crdt/ids.ts';
import type { MembershipMessage, Report } from '../core/types.ts';
import type { Log } from '../lib/log.ts';
import type { Gate } from './connections.ts';
import { GossipError, reasonOf } from './errors.ts';
import type { Host } from './host.ts';
import { MEMBERSHIP_BYTES_MAX, REPORT_BYTES_MAX, REPORT_ITEMS_MAX } from './limits.ts';
import {
  type Decoded,
  decodeBeat,
  decodeChanges,
  decodeMembership,
  decodeReportNews,
  encodeChanges,
  encodeMembership,
  encodeReportNews,
  type ReportNews,
} from './messages.ts';
import type { Rejections } from './rejections.ts';
import { applyChange, isNewer, ReportAuthor, ReportBases, type Version } from './report-changes.ts';

export type TopicNames = { reports: string; membership: string; changes: string };

/** Of the cluster's id: every message carries its topic, and no other cluster has the key of this one's network. */
const TOPIC_ID_CHARS = 8;

export const topicNames = (cluster: ClusterId): TopicNames => ({
  reports: `/peer/${cluster.slice(0, TOPIC_ID_CHARS)}/reports/1`,
  membership: `/peer/${cluster.slice(0, TOPIC_ID_CHARS)}/membership/1`,
  changes: `/peer/${cluster.slice(0, TOPIC_ID_CHARS)}/changes/1`,
});

/** None of these may throw. */
export type TopicEvents = {
  /** Newer than any before, or of an earlier life of its author than the newest. */
  report(report: Report): void;
  /** A report of the node was heard that means nothing without another one, which is not here. */
  reportMissed(node: NodeId): void;
  membership(message: MembershipMessage): void;
  changes(changes: Uint8Array[], from: NodeId): void;
};

type Verdict = { result: TopicValidatorResult; deliver?: () => void };

const accept = (deliver: () => void): Verdict => ({ result: TopicValidatorResult.Accept, deliver });
const ignore: Verdict = { result: TopicValidatorResult.Ignore };

const isOfEarlierLife = (one: Version, known: Version | undefined): boolean =>
  known !== undefined && one.incarnation < known.incarnation;

export class Topics {
  readonly #self: NodeId;
  readonly #host: Host;
  readonly #gate: Gate;
  readonly #names: TopicNames;
  readonly #events: TopicEvents;
  readonly #rejections: Rejections;
  readonly #log: Log;
  /** Newest report per admitted author. */
  readonly #newest = new Map<NodeId, Version>();
  readonly #bases = new ReportBases();
  readonly #author = new ReportAuthor();

  constructor(options: {
    self: NodeId;
    host: Host;
    gate: Gate;
    names: TopicNames;
    events: TopicEvents;
    rejections: Rejections;
    log: Log;
  }) {
    this.#self = options.self;
    this.#host = options.host;
    this.#gate = options.gate;
    this.#names = options.names;
    this.#events = options.events;
    this.#rejections = options.rejections;
    this.#log = options.log;
  }

  /** The host must have been started. */
  start(): void {
    const { pubsub } = this.#host.services;
    this.#validate(this.#names.reports, (message, from) => this.#judgeReport(decodeReportNews(message.data), from));
    this.#validate(this.#names.membership, (message, from) =>
      this.#judgeMembership(decodeMembership(message.data), from),
    );
    this.#validate(this.#names.changes, (message, from) => this.#judgeChanges(decodeChanges(message.data), from));
    for (const topic of Object.values(this.#names)) pubsub.subscribe(topic);
  }

  /**
   * The report as it travels, and whether it is whole: others are going to need it to understand what follows. Fails
   * with `too_large`: a report is bounded, and its author must know at once.
   */
  nextReport(report: Report): { data: Uint8Array; isWhole: boolean } {
    const news = this.#author.next(report, performance.now());
    if ('tooLargeBytes' in news)
      throw new GossipError(
        'too_large',
        `the report has ${news.tooLargeBytes} bytes, at most ${REPORT_BYTES_MAX} are allowed`,
      );
    return { data: encodeReportNews(news), isWhole: 'report' in news };
  }

  spreadReport(data: Uint8Array): void {
    this.#publish(this.#names.reports, data);
  }

  publishMembership(message: MembershipMessage): void {
    const data = encodeMembership(message);
    if (data.byteLength > MEMBERSHIP_BYTES_MAX)
      throw new GossipError(
        'too_large',
        `the membership message has ${data.byteLength} bytes, at most ${MEMBERSHIP_BYTES_MAX} are allowed`,
      );
    this.#publish(this.#names.membership, data);
  }

  /** False when some change was too large for gossip and must travel by anti-entropy. */
  publishChanges(changes: readonly Uint8Array[]): boolean {
    const { messages, tooLarge } = encodeChanges(changes);
    for (const message of messages) this.#publish(this.#names.changes, message);
    return !tooLarge;
  }

  /** What another node has to hear to understand what this one publishes from now on. */
  ownReports(): Report[] {
    return this.#author.whole();
  }

  /** As ownReports of another node gave it: straight from its author instead of by gossip; the same rules hold. */
  receiveReports(decoded: Decoded<Report[]>, from: NodeId): void {
    if (!decoded.ok) {
      this.#reject('report_invalid', from, decoded.reason);
      return;
    }
    const [base, newest = base] = decoded.value;
    if (base === undefined || newest === undefined) return;
    if (base.node !== from || newest.node !== from) {
      this.#reject('report_forged', from, 'it speaks for another node');
      return;
    }
    this.#bases.learn(base);
    this.#judgeNewest(newest).deliver?.();
  }

  /** A frame of what a node says of itself over its own connection. */
  receiveBeat(frame: Uint8Array, from: NodeId): void {
    const decoded = decodeBeat(frame);
    if (!decoded.ok) this.#reject('report_invalid', from, decoded.reason);
    else if ('reports' in decoded.value) this.receiveReports({ ok: true, value: decoded.value.reports }, from);
    else this.#judgeReport({ ok: true, value: decoded.value.news }, from).deliver?.();
  }

  receiveMembership(decoded: Decoded<MembershipMessage>, from: NodeId): void {
    this.#judgeMembership(decoded, from).deliver?.();
  }

  /** Nodes that a message published now reaches: they have told their topics, and there is a stream to them. */
  joined(): Set<NodeId> {
    const { pubsub } = this.#host.services;
    const subscribers = pubsub.getSubscribers(this.#names.reports).map((peer) => peer.toString() as NodeId);
    // Not in the interface of the service; without it a stream reset by the other side would go unnoticed.
    const { streamsOutbound } = pubsub as unknown as { streamsOutbound?: ReadonlyMap<string, unknown> };
    return new Set(subscribers.filter((node) => streamsOutbound === undefined || streamsOutbound.has(node)));
  }

  /** Forgets nodes that are no longer admitted. */
  prune(): void {
    for (const node of this.#newest.keys()) if (!this.#gate.admits(node)) this.#newest.delete(node);
    this.#bases.forgetUnless((node) => this.#gate.admits(node));
  }

  #publish(topic: string, data: Uint8Array): void {
    this.#host.services.pubsub.publish(topic, data).catch((error: unknown) => {
      this.#log.warn('gossip.publish_failed', { topic, reason: reasonOf(error) });
    });
  }

  #validate(topic: string, judge: (message: Message, from: NodeId) => Verdict): void {
    this.#host.services.pubsub.topicValidators.set(topic, (via: PeerId, message: Message) => {
      if (message.type !== 'signed') return TopicValidatorResult.Reject;
      const from = message.from.toString() as NodeId;
      if (from === this.#self) return TopicValidatorResult.Ignore;
      if (!this.#gate.admits(from)) {
        // Not a fault of the node that passed it on: it may not have heard of the removal yet.
        this.#rejections.count('author_not_admitted', { topic, from, via: via.toString() });
        return TopicValidatorResult.Ignore;
      }
      const verdict = judge(message, from);
      verdict.deliver?.();
      return verdict.result;
    });
  }

  #reject(kind: string, from: NodeId, reason: string): Verdict {
    this.#rejections.count(kind, { from, reason });
    return { result: TopicValidatorResult.Reject };
  }

  #judgeReport(decoded: Decoded<ReportNews>, from: NodeId): Verdict {
    if (!decoded.ok) return this.#reject('report_invalid', from, decoded.reason);
    const news = decoded.value;
    if ('report' in news) {
      if (news.report.node !== from) return this.#reject('report_forged', from, 'it speaks for another node');
      this.#bases.learn(news.report);
      return this.#judgeNewest(news.report);
    }
    const known = this.#newest.get(from);
    if (!isNewer(news.change, known)) {
      return isOfEarlierLife(news.change, known)
        ? { ...ignore, deliver: () => this.#events.reportMissed(from) }
        : ignore;
    }
    const base = this.#bases.of(from, news.change);
    // Others may have what this node lacks: it is passed on.
    if (base === undefined) return accept(() => this.#events.reportMissed(from));
    const report = applyChange(base, news.change);
    if (report.instances.length > REPORT_ITEMS_MAX || report.droplets.length > REPORT_ITEMS_MAX)
      return this.#reject('report_invalid', from, `more than ${REPORT_ITEMS_MAX} instances or droplets`);
    return this.#judgeNewest(report);
  }

  #judgeNewest(report: Report): Verdict {
    const known = this.#newest.get(report.node);
    if (!isNewer(report, known)) {
      // Its author may not know of the later life: whoever reads it can tell.
      return isOfEarlierLife(report, known) ? { ...ignore, deliver: () => this.#events.report(report) } : ignore;
    }
    const { incarnation, sequence } = report;
    this.#newest.set(report.node, { incarnation, sequence });
    return accept(() => this.#events.report(report));
  }

  #judgeMembership(decoded: Decoded<MembershipMessage>, from: NodeId): Verdict {
    if (!decoded.ok) return this.#reject('membership_invalid', from, decoded.reason);
    const message = decoded.value;
    if (message.from !== from) return this.#reject('membership_forged', from, 'it speaks for another node');
    return accept(() => this.#events.membership(message));
  }

  #judgeChanges(decoded: Decoded<Uint8Array[]>, from: NodeId): Verdict {
    if (!decoded.ok) return this.#reject('changes_invalid', from, decoded.reason);
    return accept(() => this.#events.changes(decoded.value, from));
  }
}
