import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { NodeId } from '../../crdt/ids.ts';
import type { InstanceReport, Report } from '../../node/core/types.ts';
import { REPORT_BYTES_MAX } from '../../node/gossip/limits.ts';
import { decodeReportNews, encodeReport, encodeReportNews } from '../../node/gossip/messages.ts';
import { pack, unpack } from '../../node/gossip/packing.ts';
import { applyChange, changeOf, ReportAuthor, ReportBases } from '../../node/gossip/report-changes.ts';
import { reportOf } from './fixtures.ts';

const ME = '12D3KooWme' as NodeId;

const arbitraryInstance = fc.record({
  id: fc.constantFrom('i-1', 'i-2', 'i-3', 'i-4'),
  app: fc.constantFrom('a', 'b'),
  process: fc.constant('web'),
  index: fc.nat(3),
  release: fc.constantFrom('r1', 'r2'),
  restartCount: fc.nat(1),
  state: fc.constantFrom('starting', 'ready', 'crashed'),
  sinceMs: fc.nat(5_000),
  crashes: fc.nat(2),
  memoryBytes: fc.constant(1),
}) as unknown as fc.Arbitrary<InstanceReport>;

const byId = (list: InstanceReport[]): InstanceReport[] =>
  [...new Map(list.map((one) => [one.id, one])).values()].sort((a, b) => (a.id < b.id ? -1 : 1));
const arbitraryReport = fc
  .record({
    sequence: fc.nat(9),
    load: fc.constantFrom(0, 0.5, 1),
    labels: fc.constantFrom<Record<string, string>>({}, { zone: 'a' }),
    instances: fc.array(arbitraryInstance, { maxLength: 4 }).map(byId),
    droplets: fc.uniqueArray(fc.constantFrom('d1', 'd2', 'd3')).map((list) => list.sort()),
    heads: fc.constantFrom(['h1'], ['h2'], ['h1', 'h2']),
    unreachable: fc.constantFrom([], [{ node: 'n', by: 'link', why: 'refused', sinceMs: 0 }]),
  })
  .map(({ sequence, ...rest }) => reportOf(ME, sequence, rest as unknown as Partial<Report>));

describe('a report as what differs from its base', () => {
  test('comes out as the report was, but for how long unchanged instances have been in their state', () => {
    fc.assert(
      fc.property(arbitraryReport, arbitraryReport, fc.nat(5_000), (base, report, laterMs) => {
        const restored = applyChange(base, changeOf(base, report, laterMs));
        const timeless = ({ instances, ...rest }: Report) => ({
          ...rest,
          instances: instances.map((one) => ({ ...one, sinceMs: 0 })),
        });
        expect(timeless(restored)).toEqual(timeless(report));
        for (const [index, one] of report.instances.entries()) {
          expect(Math.abs(restored.instances[index]!.sinceMs - one.sinceMs)).toBeLessThanOrEqual(250);
        }
      }),
    );
  });

  test('survives the journey, and costs a fraction of a report that changed little', () => {
    const instances = Array.from({ length: 20 }, (_, index) => ({
      ...fc.sample(arbitraryInstance, { seed: index, numRuns: 1 })[0]!,
      id: `abc-1-${index}`,
      sinceMs: 100,
    })) as unknown as InstanceReport[];
    const author = new ReportAuthor();
    const first = author.next(reportOf(ME, 1, { instances }), 0);
    const later = instances.map((one) => ({ ...one, sinceMs: 2_100 }));
    const second = author.next(reportOf(ME, 2, { instances: later, load: 0.5 }), 2_000);
    if ('tooLargeBytes' in first || 'tooLargeBytes' in second) throw new Error('neither is large');
    expect(first).toEqual({ report: reportOf(ME, 1, { instances }) });
    const bytes = encodeReportNews(second);
    expect(decodeReportNews(bytes)).toEqual({ ok: true, value: second });
    expect(bytes.length).toBeLessThan(encodeReport(reportOf(ME, 2, { instances: later })).length / 5);
    expect(bytes.length).toBeLessThan(100);
  });

  test('needs no report but its base: those between may be lost', () => {
    const author = new ReportAuthor();
    const bases = new ReportBases();
    const told = [1, 2, 3].map((sequence) => {
      const news = author.next(
        reportOf(ME, sequence, { droplets: Array.from({ length: sequence + 9 }, (_, at) => `d${at}`) as never }),
        sequence,
      );
      if ('tooLargeBytes' in news) throw new Error('it is not large');
      return news;
    });
    const [first, , third] = told as [{ report: Report }, unknown, { change: never }];
    expect(bases.of(ME, third.change)).toBeUndefined();
    bases.learn(first.report);
    expect(applyChange(bases.of(ME, third.change)!, third.change).droplets).toHaveLength(12);
  });

  test('a node that changed much sends a whole report, and tells newcomers both that and its newest', () => {
    const author = new ReportAuthor();
    const reports = [
      reportOf(ME, 1),
      reportOf(ME, 2, { droplets: ['x'.repeat(400)] as never }),
      reportOf(ME, 3, { droplets: ['x'.repeat(400)] as never, load: 2 }),
    ];
    const kinds = reports.map((report) => Object.keys(author.next(report, 0))[0]);
    expect(kinds).toEqual(['report', 'report', 'change']);
    expect(author.whole()).toEqual([reports[1], reports[2]]);
  });

  test('a report beyond the bound changes nothing', () => {
    const author = new ReportAuthor();
    author.next(reportOf(ME, 1), 0);
    const large = reportOf(ME, 2, { droplets: ['x'.repeat(REPORT_BYTES_MAX)] as never });
    expect(author.next(large, 0)).toHaveProperty('tooLargeBytes');
    expect(author.whole()).toEqual([reportOf(ME, 1)]);
  });
});

describe('packed JSON', () => {
  test('is what it was', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(unpack(pack(value), 1_000_000)).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  test('that would unpack to more than the bound is refused before it is there', () => {
    const bomb = pack({ text: ' '.repeat(10 * REPORT_BYTES_MAX) });
    expect(bomb.length).toBeLessThan(REPORT_BYTES_MAX);
    expect(() => unpack(bomb, REPORT_BYTES_MAX)).toThrow();
    expect(decodeReportNews(bomb)).toEqual({ ok: false, reason: 'not JSON' });
  });

  test('a claim costs less than half of its text', () => {
    const claim = { kind: 'suspect', node: ME, incarnation: 1048576, from: ME, evidence: 'refused' };
    expect(pack(claim).length).toBeLessThan(JSON.stringify(claim).length / 2);
  });
});
