import { describe, expect, it, vi } from 'vitest';
import { type EventSink, eventStream } from '../../node/api/event-stream.ts';
import { eventsOf, parseEvents, testApi } from './client.ts';

const never = new AbortController().signal;

describe('logs and events', () => {
  it('are the last lines asked for, oldest first', async () => {
    const { developer, viewer, node } = testApi();
    await developer.push('hello');
    const [app] = node.view().apps.keys();
    for (const text of ['one', 'two', 'three']) node.say(app!, text);
    const events = await viewer.events('/v1/apps/hello/logs?lines=2');
    expect(events).toEqual([
      {
        type: 'line',
        atMs: 1_700_000_000_000,
        source: 'APP',
        process: 'web',
        index: 0,
        instance: null,
        node: 'alpha',
        stream: 'out',
        text: 'two',
        goesOn: false,
      },
      expect.objectContaining({ type: 'line', text: 'three' }),
      { type: 'end' },
    ]);
    expect((await viewer.get('/v1/apps/hello/logs?lines=99999')).status).toBe(400);
    expect((await viewer.get('/v1/apps/nothing/logs')).status).toBe(404);
  });

  it('are followed until the client goes away', async () => {
    const { developer, viewer, node } = testApi();
    await developer.push('hello');
    const [app] = node.view().apps.keys();
    const response = await viewer.stream('/v1/apps/hello/logs?follow=true');
    const reader = response.body!.getReader();
    await vi.waitFor(() => expect(node.listenersCount()).toBe(1));
    node.say(app!, 'live');
    const { value } = await reader.read();
    expect(parseEvents(new TextDecoder().decode(value))).toMatchObject([{ type: 'line', text: 'live' }]);
    await reader.cancel();
    await vi.waitFor(() => expect(node.listenersCount()).toBe(0));
  });

  it('name the app and the node', async () => {
    const { developer, viewer, node } = testApi();
    await developer.push('hello');
    const [app] = node.view().apps.keys();
    const common = { atMs: 5, node: node.self.id };
    node.recorded.push(
      { ...common, name: 'member.alive', message: 'node beta is alive' },
      { ...common, name: 'instance.ready', app: app!, slot: 'web/0', message: 'hello/web/0 is ready' },
    );
    expect(await viewer.events('/v1/events')).toHaveLength(3);
    expect(await viewer.events('/v1/events?app=hello')).toEqual([
      {
        type: 'line',
        atMs: 5,
        name: 'instance.ready',
        app: 'hello',
        slot: 'web/0',
        node: 'alpha',
        subject: null,
        message: 'hello/web/0 is ready',
      },
      { type: 'end' },
    ]);
  });
});

describe('an event stream', () => {
  type Numbered = { type: 'line'; text: string };
  const stream = (produce: (sink: EventSink<Numbered>) => Promise<void>, signal = never) =>
    eventStream<Numbered>(signal, produce);

  it('keeps line breaks inside one event', async () => {
    const response = stream(async (sink) => sink.send({ type: 'line', text: 'a\nb\n\nevent: forged' }));
    expect(await eventsOf(response)).toEqual([{ type: 'line', text: 'a\nb\n\nevent: forged' }]);
  });

  it('beats while nothing happens', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    try {
      const response = stream(() => new Promise(() => {}));
      const reader = response.body!.getReader();
      const reading = reader.read();
      vi.advanceTimersByTime(10_000);
      expect(new TextDecoder().decode((await reading).value)).toBe(': still here\n\n');
      await reader.cancel();
    } finally {
      vi.useRealTimers();
    }
  });

  it('drops what may be dropped when the client is too slow, and says how much', async () => {
    const text = 'x'.repeat(10_000);
    let sent: (() => void) | undefined;
    const response = stream(async (sink) => {
      for (let index = 0; index < 200; index++) sink.send({ type: 'line', text }, { droppable: true });
      await sink.room();
      sink.send({ type: 'line', text: 'the end' });
      sent?.();
    });
    const events = await eventsOf(response);
    const dropped = events.find(({ type }) => type === 'dropped');
    expect(events.filter(({ type }) => type === 'line').length + Number(dropped?.count)).toBe(201);
    expect(Number(dropped?.count)).toBeGreaterThan(50);
    expect(events.at(-1)).toEqual({ type: 'line', text: 'the end' });
  });

  it('lets the producer wait for room', async () => {
    const text = 'x'.repeat(10_000);
    const response = stream(async (sink) => {
      for (let index = 0; index < 300; index++) {
        sink.send({ type: 'line', text });
        await sink.room();
      }
    });
    expect(await eventsOf(response)).toHaveLength(300);
  });

  it('ends the producer when the client goes away', async () => {
    const client = new AbortController();
    let signal: AbortSignal | undefined;
    stream(async (sink) => {
      signal = sink.signal;
      await new Promise(() => {});
    }, client.signal);
    expect(signal!.aborted).toBe(false);
    client.abort();
    expect(signal!.aborted).toBe(true);
  });
});
