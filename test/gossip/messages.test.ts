import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { NodeId } from '../../crdt/ids.ts';
import { swarmKey } from '../../node/gossip/host.ts';
import { CHANGES_BYTES_MAX, CHANGES_PER_MESSAGE_MAX } from '../../node/gossip/limits.ts';
import {
  decodeChanges,
  decodeMembership,
  decodeReport,
  encodeChanges,
  encodeReport,
} from '../../node/gossip/messages.ts';
import { reportOf } from './fixtures.ts';

const ME = 'me' as NodeId;
const reportWith = (field: string, value: unknown): Uint8Array =>
  new TextEncoder().encode(JSON.stringify({ ...reportOf(ME, 1), [field]: value }));

const INSTANCE = {
  id: 'abc-1-1',
  app: 'app',
  process: 'web',
  index: 0,
  release: 'r',
  restartCount: 0,
  state: 'ready',
  sinceMs: 0,
  crashes: 0,
  memoryBytes: 1,
};

describe('messages', () => {
  test('a report of instances and addresses as nodes have them is taken', () => {
    const report = reportOf(ME, 1, { link: '[::1]:7602', http: 'host-1.lan:80', instances: [INSTANCE as never] });
    expect(decodeReport(encodeReport(report))).toEqual({ ok: true, value: report });
  });

  test('a claim about a life so late that nobody could refute it is refused', () => {
    const claim = { kind: 'suspect', node: 'a', from: ME, evidence: 'silence' };
    const encoded = (incarnation: number) => new TextEncoder().encode(JSON.stringify({ ...claim, incarnation }));
    expect(decodeMembership(encoded(Number.MAX_SAFE_INTEGER))).toMatchObject({ ok: false });
    expect(decodeMembership(encoded(2 ** 52))).toMatchObject({ ok: true });
  });

  test('a report survives the journey', () => {
    const report = reportOf(ME, 1, { addresses: ['/ip4/10.0.0.1/tcp/1'], labels: { a: 'b' } });
    expect(decodeReport(encodeReport(report))).toEqual({ ok: true, value: report });
  });

  test.each([
    ['node', 5],
    ['node', ''],
    ['node', 'x'.repeat(129)],
    ['incarnation', -1],
    ['sequence', 1.5],
    ['sequence', 2 ** 60],
    ['status', 'asleep'],
    ['addresses', Array(65).fill('a')],
    ['addresses', 'a'],
    ['labels', { a: 1 }],
    ['memoryBytes', null],
    ['load', 'high'],
    ['instances', [{ id: 'i' }]],
    ['heads', [{}]],
    ['link', 'nowhere'],
    ['link', '10.0.0.1:65536'],
    ['http', 'a b:80'],
    ['load', 1e300],
    ['instances', [{ ...INSTANCE, id: 'a\r\nb' }]],
    ['instances', [{ ...INSTANCE, app: 'x:y' }]],
    ['instances', [{ ...INSTANCE, process: '__proto__' }]],
    ['instances', [{ ...INSTANCE, sinceMs: 1e300 }]],
  ])('a report whose %s is %j is refused, with the field named', (field, value) => {
    const decoded = decodeReport(reportWith(field, value));
    expect(decoded.ok).toBe(false);
    expect(decoded.ok || decoded.reason).toContain(field);
  });

  test('no bytes at all make a decoder throw', () => {
    const anything = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.json().map((text) => new TextEncoder().encode(text)),
    );
    fc.assert(
      fc.property(anything, (bytes) => {
        for (const decode of [decodeReport, decodeMembership, decodeChanges]) {
          const decoded: { ok: boolean } = decode(bytes);
          expect(typeof decoded.ok).toBe('boolean');
        }
      }),
    );
  });

  test('changes survive being packed, in order, in bounded messages', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 50 }), (changes) => {
        const { messages, tooLarge } = encodeChanges(changes);
        expect(tooLarge).toBe(false);
        const back = messages.flatMap((message) => {
          const decoded = decodeChanges(message);
          return decoded.ok ? decoded.value : [];
        });
        expect(back.map((bytes) => [...bytes])).toEqual(changes.map((bytes) => [...bytes]));
      }),
    );
    const many = encodeChanges(Array.from({ length: 2 * CHANGES_PER_MESSAGE_MAX + 1 }, () => Uint8Array.of(1)));
    expect(many.messages).toHaveLength(3);
    const large = encodeChanges([
      new Uint8Array(CHANGES_BYTES_MAX - 4),
      Uint8Array.of(1),
      new Uint8Array(CHANGES_BYTES_MAX),
    ]);
    expect([large.messages.length, large.tooLarge]).toEqual([2, true]);
    for (const message of large.messages) expect(decodeChanges(message).ok).toBe(true);
  });

  test('the private-network key is taken as text or as bytes, and refused when damaged', () => {
    const text = new TextDecoder().decode(swarmKey(new Uint8Array(32).fill(255)));
    expect(text).toBe(`/key/swarm/psk/1.0.0/\n/base16/\n${'f'.repeat(64)}`);
    expect(new TextDecoder().decode(swarmKey(`${text}\n`))).toBe(text);
    expect(() => swarmKey(new Uint8Array(31))).toThrow(/damaged/);
    expect(() => swarmKey('secret')).toThrow(/damaged/);
  });
});
