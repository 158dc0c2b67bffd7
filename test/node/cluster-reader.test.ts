// Logs and events of other nodes: whatever one of them answers, the rest is shown.

import * as v from 'valibot';
import { expect, it } from 'vitest';
import { asAppId, asNodeId } from '../../crdt/ids.ts';
import { ClusterReader } from '../../node/cluster/cluster-reader.ts';
import { EventLog } from '../../node/cluster/event-log.ts';
import type { Gossip } from '../../node/ports/gossip.ts';
import type { LogStore } from '../../node/ports/logs.ts';
import type { Method, StreamMethod } from '../../node/ports/methods.ts';

it('reading of the cluster › leaves out what is no line, and shows the rest in order', async () => {
  const line = (atMs: number, text: unknown) => ({ atMs, node: 'b', source: 'APP', stream: 'out', text });
  const odd = [null, 7, {}, line(Number.NaN, 'x'), line(2, 7), { atMs: 3, node: {}, text: 'x' }];
  const gossip = {
    handle() {},
    handleStream() {},
    // As the control plane hands them on.
    request: async (_node: unknown, method: Method<unknown, unknown>) =>
      v.parse(method.reply, [...odd, line(2, 'second'), line(1, 'first')]),
    async *requestStream(_node: unknown, method: StreamMethod<unknown, unknown>) {
      for (const item of [...odd, line(3, 'third')]) yield v.parse(method.item, item);
    },
  } as unknown as Gossip;
  const logs = { tail: async () => [], follow: () => () => {} } as unknown as LogStore;
  const self = asNodeId('a');
  const events = new EventLog(self, () => 0);
  const reader = new ClusterReader({ gossip, logs, events, aliveOthers: () => [asNodeId('b')] });
  const ends = new AbortController();
  const texts: string[] = [];
  for await (const one of reader.logs(asAppId('app'), { lines: 10, follow: true, signal: ends.signal })) {
    texts.push(one.text);
    if (texts.length === 3) ends.abort();
  }
  expect(texts).toEqual(['first', 'second', 'third']);
});
