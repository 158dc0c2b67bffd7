// A WebSocket that sends back what it gets, on node:http alone (RFC 6455). Plain GET says that it is here.

import { createHash } from 'node:crypto';
import { createServer } from 'node:http';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const FRAME_BYTES_MAX = 1024 * 1024;
const TEXT = 1;
const BINARY = 2;
const CONTINUATION = 0;
const CLOSE = 8;
const PING = 9;
const PONG = 10;
const TOO_BIG = 1009;
const PROTOCOL_ERROR = 1002;

const index = Number(process.env.CF_INSTANCE_INDEX ?? 0);
const sockets = new Set();

const server = createServer((_request, response) => {
  response.writeHead(200, { 'content-type': 'text/plain' });
  response.end(`ws-echo index ${index}: connect with a WebSocket\n`);
});

server.on('upgrade', (request, socket, head) => {
  const key = request.headers['sec-websocket-key'];
  if (request.headers.upgrade?.toLowerCase() !== 'websocket' || !key) {
    return socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
  }
  const accept = createHash('sha1').update(key + GUID).digest('base64');
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nX-App-Index: ${index}\r\n\r\n`,
  );
  socket.setNoDelay(true);
  sockets.add(socket);
  socket.on('close', () => sockets.delete(socket));
  socket.on('error', () => socket.destroy());
  let bytes = head;
  const consume = () => {
    let frame = readFrame(bytes);
    while (frame) {
      if (frame.error) return end(socket, frame.error);
      bytes = bytes.subarray(frame.length);
      if (frame.opcode === CLOSE) return socket.end(encode(CLOSE, true, frame.payload));
      if (frame.opcode === PING) socket.write(encode(PONG, true, frame.payload));
      else if (frame.opcode <= BINARY) socket.write(encode(frame.opcode, frame.final, frame.payload));
      frame = readFrame(bytes);
    }
  };
  socket.on('data', (chunk) => {
    bytes = Buffer.concat([bytes, chunk]);
    consume();
  });
  consume();
});

/** The first whole frame in the bytes, unmasked; undefined while it is incomplete. */
function readFrame(bytes) {
  if (bytes.length < 2) return undefined;
  const final = (bytes[0] & 0x80) !== 0;
  const opcode = bytes[0] & 0x0f;
  if ((bytes[1] & 0x80) === 0 || ![CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG].includes(opcode)) return { error: PROTOCOL_ERROR };
  let size = bytes[1] & 0x7f;
  let at = 2;
  if (size === 126) {
    if (bytes.length < 4) return undefined;
    size = bytes.readUInt16BE(2);
    at = 4;
  } else if (size === 127) {
    if (bytes.length < 10) return undefined;
    const long = bytes.readBigUInt64BE(2);
    if (long > FRAME_BYTES_MAX) return { error: TOO_BIG };
    size = Number(long);
    at = 10;
  }
  if (size > FRAME_BYTES_MAX) return { error: TOO_BIG };
  if (bytes.length < at + 4 + size) return undefined;
  const mask = bytes.subarray(at, at + 4);
  const payload = Buffer.from(bytes.subarray(at + 4, at + 4 + size));
  for (let i = 0; i < payload.length; i++) payload[i] ^= mask[i % 4];
  return { final, opcode, payload, length: at + 4 + size };
}

function encode(opcode, final, payload) {
  const first = (final ? 0x80 : 0) | opcode;
  if (payload.length < 126) return Buffer.concat([Buffer.from([first, payload.length]), payload]);
  const header = Buffer.alloc(payload.length < 65536 ? 4 : 10);
  header[0] = first;
  if (payload.length < 65536) {
    header[1] = 126;
    header.writeUInt16BE(payload.length, 2);
  } else {
    header[1] = 127;
    header.writeBigUInt64BE(BigInt(payload.length), 2);
  }
  return Buffer.concat([header, payload]);
}

function end(socket, code) {
  const payload = Buffer.alloc(2);
  payload.writeUInt16BE(code);
  socket.end(encode(CLOSE, true, payload));
}

server.listen(Number(process.env.PORT ?? 8080), () => console.log(`ws-echo index ${index} listens on ${server.address().port}`));
process.on('SIGTERM', () => {
  for (const socket of sockets) end(socket, 1001);
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
