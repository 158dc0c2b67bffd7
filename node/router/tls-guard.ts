// Stands in front of a client of an exported service whose protocol begins in clear: lets it ask for TLS in the words
// of that protocol, and passes on everything once both sides have agreed on it. A client that wants to go on in clear
// is refused in the same words, before anything of it has reached the engine. Never sees what is said over TLS.

import type { Socket } from 'node:net';
import type { StartsTls } from '../ports/router.ts';
import { stream } from './builtin.ts';
import { GUARD_BYTES_MAX, GUARD_TIMEOUT_MS } from './limits.ts';

/**
 * What becomes of the bytes that have come so far. `wait`: for more. `pass`: those go on, and all that follows unless
 * `awaits` says that the other side is judged next. `answer`: the first `bytes` are answered here. `refuse`: with this
 * as the last word.
 */
type Verdict =
  | { kind: 'wait' }
  | { kind: 'pass'; open: boolean }
  | { kind: 'answer'; bytes: number; reply: Buffer }
  | { kind: 'refuse'; reply: Buffer };

type Rules = {
  /** Who speaks first: the other side's bytes are judged once this one's have passed. */
  first: 'client' | 'server';
  client(bytes: Buffer): Verdict;
  server(bytes: Buffer): Verdict;
};

const WAIT: Verdict = { kind: 'wait' };
const NOTHING = Buffer.alloc(0);

/** @see https://www.postgresql.org/docs/current/protocol-message-formats.html SSLRequest and others */
const POSTGRES = { bytes: 8, ssl: 80_877_103, gss: 80_877_104, cancel: 80_877_102 } as const;

const postgres: Rules = {
  first: 'client',
  client(bytes) {
    if (bytes.length < POSTGRES.bytes) return WAIT;
    switch (bytes.readInt32BE(4)) {
      case POSTGRES.ssl:
        // Nothing may follow before the answer: it would be taken for what was said over TLS.
        return bytes.length > POSTGRES.bytes
          ? { kind: 'refuse', reply: postgresRefusal('bytes follow the request for TLS') }
          : { kind: 'pass', open: false };
      case POSTGRES.gss:
        return { kind: 'answer', bytes: POSTGRES.bytes, reply: Buffer.from('N') };
      case POSTGRES.cancel:
        // Clients before version 17 ask for it in clear; it holds a number that stands for one running query.
        return { kind: 'pass', open: true };
      default:
        return {
          kind: 'refuse',
          reply: postgresRefusal('this address takes connections with TLS alone: sslmode=require'),
        };
    }
  },
  server: (bytes) =>
    bytes.length === 0
      ? WAIT
      : bytes[0] === 0x53
        ? { kind: 'pass', open: true }
        : { kind: 'refuse', reply: postgresRefusal('the service has no TLS: restart it') },
};

/** ErrorResponse. */
function postgresRefusal(message: string): Buffer {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C28000\0M${message}\0\0`);
  const head = Buffer.alloc(5);
  head.write('E');
  head.writeInt32BE(fields.length + 4, 1);
  return Buffer.concat([head, fields]);
}

/** @see https://mariadb.com/kb/en/connection/ the initial handshake, and the capability CLIENT_SSL */
const MYSQL = { headBytes: 4, ssl: 0x0800, version: 10, requestBytes: 32, protocolBytes: 1 + 4 + 8 + 1 } as const;

const mysql: Rules = {
  first: 'server',
  server(bytes) {
    if (bytes.length < MYSQL.headBytes) return WAIT;
    if (bytes.length < MYSQL.headBytes + bytes.readUIntLE(0, 3)) return WAIT;
    // Anything else than a greeting is a refusal in itself.
    if (bytes[MYSQL.headBytes] !== MYSQL.version) return { kind: 'pass', open: false };
    const versionEnd = bytes.indexOf(0, MYSQL.headBytes + 1);
    const at = versionEnd + MYSQL.protocolBytes;
    const capabilities = versionEnd < 0 || at + 2 > bytes.length ? 0 : bytes.readUInt16LE(at);
    return (capabilities & MYSQL.ssl) !== 0
      ? { kind: 'pass', open: false }
      : { kind: 'refuse', reply: mysqlRefusal(0, 'the service has no TLS: restart it') };
  },
  client(bytes) {
    if (bytes.length < MYSQL.headBytes + 4) return WAIT;
    // A longer one has a login in it already.
    const asksForTls = bytes.readUIntLE(0, 3) <= MYSQL.requestBytes;
    if (asksForTls && (bytes.readUInt16LE(MYSQL.headBytes) & MYSQL.ssl) !== 0) return { kind: 'pass', open: true };
    const sequence = (bytes[3]! + 1) & 0xff;
    return { kind: 'refuse', reply: mysqlRefusal(sequence, 'this address takes connections with TLS alone') };
  },
};

/** ER_SECURE_TRANSPORT_REQUIRED, as a packet. */
function mysqlRefusal(sequence: number, message: string): Buffer {
  const body = Buffer.concat([Buffer.from([0xff, 3159 & 0xff, 3159 >> 8]), Buffer.from(`#08004${message}`)]);
  const head = Buffer.alloc(MYSQL.headBytes);
  head.writeUIntLE(body.length, 0, 3);
  head[3] = sequence;
  return Buffer.concat([head, body]);
}

const RULES: Readonly<Record<StartsTls, Rules>> = { postgres, mysql };

/** The client as the way to the service sees it. Ends with the client, and the client with it. */
export class GuardedClient extends stream.Duplex {
  readonly #socket: Socket;
  readonly #rules: Rules;
  #turn: 'client' | 'server' | 'open';
  #heard: Buffer = NOTHING;
  #said: Buffer = NOTHING;
  readonly #timer: NodeJS.Timeout;

  constructor(socket: Socket, protocol: StartsTls) {
    super({ allowHalfOpen: true });
    this.#socket = socket;
    this.#rules = RULES[protocol];
    this.#turn = this.#rules.first;
    this.#timer = setTimeout(() => this.destroy(), GUARD_TIMEOUT_MS);
    socket.on('data', (chunk: Buffer) => this.#hear(chunk));
    socket.on('end', () => (this.#turn === 'open' ? this.push(null) : this.destroy()));
    socket.on('error', (error) => this.destroy(error));
    socket.once('close', () => this.destroy());
  }

  setTimeout(timeoutMs: number, listener?: () => void): void {
    this.#socket.setTimeout(timeoutMs, listener);
  }

  setKeepAlive(enable: boolean, delayMs: number): void {
    this.#socket.setKeepAlive(enable, delayMs);
  }

  setNoDelay(): void {
    this.#socket.setNoDelay();
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    if (this.#turn === 'open') {
      this.#send(chunk, callback);
      return;
    }
    this.#said = Buffer.concat([this.#said, chunk]);
    // Held back until it is the server's turn; it says little before that.
    if (this.#said.length > GUARD_BYTES_MAX) this.destroy();
    else if (this.#turn === 'server') this.#judgeServer();
    callback();
  }

  override _final(callback: () => void): void {
    this.#socket.end();
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    clearTimeout(this.#timer);
    this.#socket.destroy();
    callback(error);
  }

  #send(chunk: Buffer, callback: () => void): void {
    if (this.#socket.write(chunk) || this.#socket.destroyed) callback();
    else this.#socket.once('drain', callback);
  }

  #hear(chunk: Buffer): void {
    if (this.#turn === 'open') {
      if (!this.push(chunk)) this.#socket.pause();
      return;
    }
    this.#heard = Buffer.concat([this.#heard, chunk]);
    if (this.#turn === 'client') this.#judgeClient();
    // What a client says out of turn is no handshake.
    else if (this.#heard.length > GUARD_BYTES_MAX || this.#rules.first === 'client') this.destroy();
  }

  #judgeClient(): void {
    const verdict = this.#rules.client(this.#heard);
    switch (verdict.kind) {
      case 'wait':
        if (this.#heard.length > GUARD_BYTES_MAX) this.destroy();
        return;
      case 'answer':
        this.#socket.write(verdict.reply);
        this.#heard = this.#heard.subarray(verdict.bytes);
        this.#judgeClient();
        return;
      case 'refuse':
        this.#refuse(verdict.reply);
        return;
      case 'pass': {
        const bytes = this.#heard;
        this.#heard = NOTHING;
        this.#turn = verdict.open ? 'open' : 'server';
        if (verdict.open) this.#opened();
        if (!this.push(bytes)) this.#socket.pause();
        if (!verdict.open && this.#said.length > 0) this.#judgeServer();
      }
    }
  }

  #judgeServer(): void {
    const verdict = this.#rules.server(this.#said);
    if (verdict.kind === 'refuse') this.#refuse(verdict.reply);
    if (verdict.kind !== 'pass') return;
    const bytes = this.#said;
    this.#said = NOTHING;
    this.#turn = verdict.open ? 'open' : 'client';
    if (verdict.open) this.#opened();
    this.#socket.write(bytes);
    if (!verdict.open && this.#heard.length > 0) this.#judgeClient();
  }

  #opened(): void {
    clearTimeout(this.#timer);
  }

  /** The client hears why; the service hears that it has gone. */
  #refuse(reply: Buffer): void {
    this.#turn = 'client';
    this.#socket.removeAllListeners('data').resume();
    this.#socket.end(reply, () => this.destroy());
  }
}
