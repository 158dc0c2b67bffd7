// yamux, made safe against a connection that ends while a stream over it is being opened. Changes nothing else.

import { yamux as plainYamux } from '@chainsafe/libp2p-yamux';
import type { MessageStream } from '@libp2p/interface';

type Yamux = ReturnType<ReturnType<typeof plainYamux>>;

/**
 * yamux announces a new stream in a microtask of its own, also one that has ended by then if the round trip is known. When the
 * connection has ended too, its send throws where nobody catches, which would end the process. What cannot be sent any more
 * is dropped: the end of the connection, which every stream hears of, says all there is to say.
 */
export function yamux(init: Parameters<typeof plainYamux>[0]): () => Yamux {
  const create = plainYamux(init);
  return () => {
    const factory = create();
    const createStreamMuxer = factory.createStreamMuxer.bind(factory);
    factory.createStreamMuxer = (connection) => {
      const muxer = createStreamMuxer(connection);
      const send = muxer.send.bind(muxer);
      muxer.send = (data) => !canBeWritten(connection) || send(data);
      return muxer;
    };
    return factory;
  };
}

/** The interface does not name the field; the connections that libp2p passes, encrypted streams, all have it. */
function canBeWritten(connection: MessageStream): boolean {
  const { writeStatus } = connection as MessageStream & { writeStatus?: string };
  return writeStatus !== 'closed' && writeStatus !== 'closing';
}
