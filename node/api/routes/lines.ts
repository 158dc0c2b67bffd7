// Logs of an app and events of the cluster, as streams of lines: the last ones, and with `follow` those to come.

import { Hono } from 'hono';
import type { AppId, NodeId } from '../../../crdt/ids.ts';
import type { DesiredView } from '../../../crdt/view.ts';
import type { NodeService } from '../../ports.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import { failureOf, reportUnexpected } from '../errors.ts';
import { type EventSink, eventStream } from '../event-stream.ts';
import { type EventShape, eventShape, type LogShape, logShape } from '../log-lines.ts';
import { appNamed } from '../lookup.ts';
import type { LinesEvent } from '../stream-events.ts';
import { eventsQuery, LINES_DEFAULT, logsQuery, queryOf } from '../validate.ts';

export function linesRoutes({ service, log }: ApiContext) {
  const names = namesOf(service);
  /** Takes no more lines from the source while the client reads too slowly. */
  async function relay<S, T>(
    sink: EventSink<LinesEvent<T>>,
    source: AsyncIterable<S>,
    shape: (item: S) => T,
    where: string,
  ): Promise<void> {
    try {
      for await (const item of source) {
        if (sink.signal.aborted) return;
        sink.send({ type: 'line', ...shape(item) });
        await sink.room();
      }
      sink.send({ type: 'end' });
    } catch (error) {
      if (sink.signal.aborted) return;
      const failure = failureOf(error);
      const message = failure?.message ?? reportUnexpected(log, error, where);
      sink.send({ type: 'failed', code: failure?.code ?? 'internal', message });
    }
  }

  return new Hono<ApiEnv>()
    .get('/v1/apps/:name/logs', requires('viewer'), queryOf(logsQuery), (c) => {
      const app = appNamed(service.view(), c.req.param('name'));
      const { lines = LINES_DEFAULT, follow } = c.req.valid('query');
      return eventStream<LinesEvent<LogShape>>(c.req.raw.signal, (sink) =>
        relay(
          sink,
          service.logs(app.id, { lines: Number(lines), follow: follow === 'true', signal: sink.signal }),
          (line) => logShape(line, names().nodes),
          'logs',
        ),
      );
    })
    .get('/v1/events', requires('viewer'), queryOf(eventsQuery), (c) => {
      const query = c.req.valid('query');
      const app = query.app === undefined ? undefined : appNamed(service.view(), query.app).id;
      const { lines = LINES_DEFAULT, follow } = query;
      return eventStream<LinesEvent<EventShape>>(c.req.raw.signal, (sink) =>
        relay(
          sink,
          service.events({
            ...(app === undefined ? {} : { app }),
            lines: Number(lines),
            follow: follow === 'true',
            signal: sink.signal,
          }),
          (event) => eventShape(event, names()),
          'events',
        ),
      );
    });
}

type Names = { nodes: ReadonlyMap<NodeId, string>; apps: ReadonlyMap<AppId, string> };

/** Names by id; worked out again only when the desired state is another one, not for each line. */
function namesOf(service: NodeService): () => Names {
  let view: DesiredView | undefined;
  let names: Names = { nodes: new Map(), apps: new Map() };
  return () => {
    const now = service.view();
    if (now !== view) {
      view = now;
      names = {
        nodes: new Map([...now.nodes].map(([id, node]) => [id, node.name])),
        apps: new Map([...now.apps].map(([id, app]) => [id, app.name])),
      };
    }
    return names;
  };
}
