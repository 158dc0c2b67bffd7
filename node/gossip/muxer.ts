// yamux, made safe against a connection that ends while a stream over it is being opened, ended together with its
// connection, and asked two things that libp2p does not ask: whether anything came over a connection, and whether the
// other side answers. Changes nothing else.

import { yamux as plainYamux } from '@chainsafe/libp2p-yamux';
import type { Connection, MessageStream } from '@libp2p/interface';

type Yamux = ReturnType<ReturnType<typeof plainYamux>>;
type Muxer = ReturnType<Yamux['createStreamMuxer']>;
/** What yamux's muxer has beyond libp2p's interface. */
type YamuxMuxer = Muxer & {
  onData(data: unknown): void;
  send(data: unknown): boolean;
  ping(): Promise<number>;
};

/** Muxers over which something came since takeHeard asked last. */
const heard = new WeakSet<object>();

/**
 * A muxer that gives up, or whose other side did, takes no more streams; the connection under it would stay open all
 * the same, and be chosen again and again.
 *
 * yamux announces a new stream in a microtask of its own, also one that has ended by then if the round trip is known.
 * When the connection has ended too, its send throws where nobody catches, which would end the process. What cannot be
 * sent any more is dropped: the end of the connection, which every stream hears of, says all there is to say.
 */
export function yamux(init: Parameters<typeof plainYamux>[0]): () => Yamux {
  const create = plainYamux(init);
  return () => {
    const factory = create();
    const createStreamMuxer = factory.createStreamMuxer.bind(factory);
    factory.createStreamMuxer = (connection) => {
      const muxer = createStreamMuxer(connection) as YamuxMuxer;
      const send = muxer.send.bind(muxer);
      muxer.send = (data) => !canBeWritten(connection) || send(data);
      const abort = muxer.abort.bind(muxer);
      muxer.abort = (error) => {
        abort(error);
        connection.abort(error);
      };
      const onData = muxer.onData.bind(muxer);
      muxer.onData = (data) => {
        heard.add(muxer);
        onData(data);
      };
      return muxer;
    };
    return factory;
  };
}

/** Whether any byte came over the connection since this was asked last. */
export function takeHeard(connection: Connection): boolean {
  const muxer = muxerOf(connection);
  return muxer !== undefined && heard.delete(muxer);
}

/**
 * Resolves when the other side's muxer has answered; fails when the connection ends, or with the signal's reason. A
 * frame each way, which the other side's event loop answers, instead of a stream for the same question. One question
 * is under way at a time, for all who ask: yamux takes an answer that comes after its asker gave up for a fault and
 * ends the connection.
 */
export async function echo(connection: Connection, signal: AbortSignal): Promise<void> {
  const muxer = muxerOf(connection);
  if (muxer === undefined || connection.status !== 'open') throw new Error('the connection is closed');
  signal.throwIfAborted();
  const { promise: ended, reject } = Promise.withResolvers<never>();
  const onClose = (): void => reject(new Error('the connection was closed'));
  const onAbort = (): void => reject(signal.reason);
  connection.addEventListener('close', onClose, { once: true });
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    await Promise.race([muxer.ping(), ended]);
  } finally {
    connection.removeEventListener('close', onClose);
    signal.removeEventListener('abort', onAbort);
  }
}

/** libp2p's connections have it, though their interface does not name it. */
const muxerOf = (connection: Connection): YamuxMuxer | undefined =>
  (connection as unknown as { muxer?: YamuxMuxer }).muxer;

/** The interface does not name the field; the connections that libp2p passes, encrypted streams, all have it. */
function canBeWritten(connection: MessageStream): boolean {
  const { writeStatus } = connection as MessageStream & { writeStatus?: string };
  return writeStatus !== 'closed' && writeStatus !== 'closing';
}
