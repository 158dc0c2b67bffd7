// Packs JSON for gossip: deflated against texts that every message holds, so that a short one does not consist of
// field names. Knows nothing of what it packs; what is unpacked is bounded and may still be anything.

import { deflateRawSync, inflateRawSync } from 'node:zlib';

/**
 * What messages are made of, the most frequent last: deflate refers to what is near in fewer bits. Part of the
 * protocol's version.
 */
const DICTIONARY = Buffer.from(
  [
    '{"kind":"left","kind":"alive","kind":"dead","kind":"suspect","node":"12D3KooW","incarnation":,"from":"12D3KooW',
    '","evidence":"silence","evidence":"refused"}{"node":"12D3KooW","incarnation":,"sequence":,"name":"","status":"leaving"',
    ',"status":"alive","version":"","addresses":["/ip4/127.0.0.1/tcp//p2p/12D3KooW"],"link":":","api":"127.0.0.1:","http":"0.0.0.0:"',
    ',"arch":"arm64","arch":"x64","stacks":["debian12-x64"],"runtimes":["docker","process"],"labels":{"zone":"},"memoryBytes":',
    ',"load":0.25,"instances":[],"droplets":["sha256:"],"heads":["',
    '"offered":","covers":["@"],"reason":"exited with status ","state":"crashed","state":"unhealthy","state":"stopping"',
    '{"base":,"laterMs":,"fields":{"load":0.5},"gone":[],"dropletsAdded":["sha256:"],"dropletsGone":["sha256:"],"set":[',
    '{"id":"-1-","app":"","process":"worker","process":"web","index":,"release":"","restartCount":0,"state":"starting"',
    ',"state":"ready","sinceMs":0,"crashes":0,"memoryBytes":268435456,"memoryBytes":134217728,"memoryBytes":67108864,"port":}]}',
  ].join(''),
);
/** JSON begins with a brace or another printable character, so that plain text is told from packed. */
const PACKED = 0x01;
const utf8 = new TextDecoder('utf-8', { fatal: true });

export function pack(value: unknown): Uint8Array {
  const packed = deflateRawSync(JSON.stringify(value), { dictionary: DICTIONARY });
  const bytes = new Uint8Array(1 + packed.length);
  bytes[0] = PACKED;
  bytes.set(packed, 1);
  return bytes;
}

/** Throws when the bytes hold no JSON, or more than bytesMax of it. Plain JSON is taken too. */
export function unpack(bytes: Uint8Array, bytesMax: number): unknown {
  if (bytes[0] !== PACKED) return JSON.parse(utf8.decode(bytes));
  const plain = inflateRawSync(bytes.subarray(1), { dictionary: DICTIONARY, maxOutputLength: bytesMax });
  return JSON.parse(utf8.decode(plain));
}
