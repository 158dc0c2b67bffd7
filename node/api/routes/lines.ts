// Logs of an app or a service and events of the cluster, as streams of lines: the last ones, and with `follow` those
// to come.

import { Hono } from 'hono';
import type { AppId, NodeId } from '../../../crdt/ids.ts';
import type { DesiredView, UserView } from '../../../crdt/view.ts';
import type { NodeService } from '../../ports/node-service.ts';
import { currentUser, ownedIn, readsAll, stillHas, workloadFor, workloadNamed } from '../access.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import { ApiError, failureOf, reportUnexpected } from '../errors.ts';
import { type EventSink, eventStream } from '../event-stream.ts';
import { type EventShape, eventShape, type LogShape, logShape } from '../log-lines.ts';
import type { LinesEvent } from '../stream-events.ts';
import { eventsQuery, LINES_DEFAULT, logsQuery, queryOf } from '../validate.ts';

export function linesRoutes({ service, log }: ApiContext) {
  const names = namesOf(service);
  /**
   * Takes no more lines from the source while the client reads too slowly. `mayRead` is asked for each item: a
   * user who was removed, or taken out of the team, follows no longer.
   */
  async function relay<S, T>(
    sink: EventSink<LinesEvent<T>>,
    source: AsyncIterable<S>,
    { shape, mayRead, where }: { shape: (item: S) => T; mayRead: (item: S) => boolean; where: string },
  ): Promise<void> {
    try {
      for await (const item of source) {
        if (sink.signal.aborted) return;
        if (!mayRead(item)) continue;
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
      const app = workloadFor(c, service.view(), 'read');
      const user = c.get('user');
      const { lines = LINES_DEFAULT, follow } = c.req.valid('query');
      return eventStream<LinesEvent<LogShape>>(c.req.raw.signal, (sink) =>
        relay(sink, service.logs(app.id, { lines: Number(lines), follow: follow === 'true', signal: sink.signal }), {
          shape: (line) => logShape(line, names().nodes),
          mayRead: () => {
            if (stillHas(service.view(), user, app.id, 'read')) return true;
            throw new ApiError('forbidden', `${user.name} may no longer read the logs of ${app.name}`);
          },
          where: 'logs',
        }),
      );
    })
    .get('/v1/events', requires('viewer'), queryOf(eventsQuery), (c) => {
      const query = c.req.valid('query');
      const user = c.get('user');
      const app = query.app === undefined ? undefined : workloadNamed(service.view(), user, query.app, 'read').id;
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
          {
            shape: (event) => eventShape(event, names()),
            mayRead: (event) => mayReadEvent(service.view(), user, event.app),
            where: 'events',
          },
        ),
      );
    });
}

/** Events of apps are for users who may read their logs: they hold reasons and names of commands. */
function mayReadEvent(view: DesiredView, asked: UserView, app: AppId | undefined): boolean {
  const user = currentUser(view, asked);
  if (user === undefined) throw new ApiError('unauthorized', `${asked.name} was removed from this cluster`);
  if (app === undefined) return true;
  return ownedIn(view, app) !== undefined ? stillHas(view, user, app, 'read') : readsAll(view, user);
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
        apps: new Map([...now.workloads].map(([id, app]) => [id, app.name])),
      };
    }
    return names;
  };
}
