// A connection to one holder of a blob, over that node's link: asks for its manifest and for ranges of its packs, and
// hands over each answer as it becomes whole. Mutual TLS, pinned to the node that is expected. Never judges what the
// bytes say.

import type { ConnectionOptions, TLSSocket } from 'node:tls';
import type { NodeId } from '../../crdt/ids.ts';
import type { TlsIdentity } from '../identity/identity.ts';
import { nodeIdOfCertificate } from '../identity/node-id.ts';
import { BlobError } from './errors.ts';
import { DIAL_TIMEOUT_MS, HOLDER_IDLE_TIMEOUT_MS, SOCKET_READ_BYTES } from './limits.ts';

const tls = process.getBuiltinModule('node:tls');

export type HolderAddress = { node: NodeId /** `host:port` */; link: string };

/** One byte that says how it went, and the length of what follows. */
const ANSWER_HEAD_BYTES = 5;
const ANSWERS = { ok: 0, missing: 1, busy: 2 } as const;
const RESPONSE_HEAD_BYTES_MAX = 8 * 1024;

type Expected = {
  /** Most, for an answer of unknown length; else exactly. */
  bytesMax: number;
  exact: boolean;
  take: (bytes: Buffer) => void;
};

export class HolderConnection {
  readonly #socket: TLSSocket;
  readonly #expected: Expected[] = [];
  readonly #onEnd: (error: BlobError) => void;
  #stage: 'greeting' | 'head' | 'body' = 'greeting';
  #greeting = '';
  readonly #head = Buffer.alloc(ANSWER_HEAD_BYTES);
  #headBytes = 0;
  /** Answers are gathered here; it grows to the largest. */
  #body = Buffer.alloc(0);
  #bodyBytes = 0;
  #wantedBytes = 0;
  #ended = false;

  /** `onReady` once requests are accepted, `onEnd` once when the connection is over, whoever ended it. */
  constructor(options: {
    holder: HolderAddress;
    identity: TlsIdentity;
    onReady: () => void;
    onEnd: (error: BlobError) => void;
  }) {
    const { holder, identity } = options;
    this.#onEnd = options.onEnd;
    const split = holder.link.lastIndexOf(':');
    const socket = tls.connect({
      host: holder.link.slice(0, split).replace(/^\[|\]$/g, ''),
      port: Number(holder.link.slice(split + 1)),
      key: identity.keyPem,
      cert: identity.certPem,
      minVersion: 'TLSv1.3',
      // Identity is the key itself, checked below; there is no authority that could vouch for it.
      rejectUnauthorized: false,
      ALPNProtocols: ['http/1.1'],
      // One buffer for all reads: a new one for each would make hundreds of megabytes of garbage.
      onread: {
        buffer: Buffer.allocUnsafeSlow(SOCKET_READ_BYTES),
        callback: (length: number, buffer: Uint8Array) => {
          this.#receive(buffer as Buffer, length);
          return true;
        },
      },
    } as ConnectionOptions);
    this.#socket = socket;
    socket.setTimeout(DIAL_TIMEOUT_MS);
    // Silence is a fault only while an answer is awaited.
    socket.on('timeout', () => this.#waits() && this.end(new BlobError('unavailable', 'it sent nothing for too long')));
    socket.on('error', (error) => this.end(new BlobError('unavailable', error.message, { cause: error })));
    socket.on('close', () => this.end(new BlobError('unavailable', 'it closed the connection')));
    socket.on('end', () => this.end(new BlobError('unavailable', 'it ended the connection')));
    socket.once('secureConnect', () => {
      const certificate = socket.getPeerX509Certificate();
      if (certificate === undefined || nodeIdOfCertificate(certificate) !== holder.node) {
        this.end(new BlobError('unavailable', 'another node answers at its address'));
        return;
      }
      socket.setTimeout(HOLDER_IDLE_TIMEOUT_MS);
      socket.write(
        `GET /blobs HTTP/1.1\r\nhost: ${holder.link}\r\nconnection: upgrade\r\nupgrade: peer-blobs/1\r\n\r\n`,
      );
      options.onReady();
    });
  }

  /** Answers come in the order of the requests. `take` must not keep the bytes. */
  request(line: string, expected: Expected): void {
    this.#expected.push(expected);
    this.#socket.write(line);
  }

  #waits(): boolean {
    return this.#stage === 'greeting' || this.#expected.length > 0;
  }

  end(error: BlobError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#socket.destroy();
    this.#onEnd(error);
  }

  #receive(buffer: Buffer, length: number): void {
    let from = 0;
    while (from < length && !this.#ended) {
      switch (this.#stage) {
        case 'greeting':
          from = this.#readGreeting(buffer, from, length);
          break;
        case 'head': {
          const part = Math.min(ANSWER_HEAD_BYTES - this.#headBytes, length - from);
          buffer.copy(this.#head, this.#headBytes, from, from + part);
          this.#headBytes += part;
          from += part;
          if (this.#headBytes === ANSWER_HEAD_BYTES) this.#readHead();
          break;
        }
        case 'body': {
          const part = Math.min(this.#wantedBytes - this.#bodyBytes, length - from);
          buffer.copy(this.#body, this.#bodyBytes, from, from + part);
          this.#bodyBytes += part;
          from += part;
          if (this.#bodyBytes === this.#wantedBytes) this.#handOver();
          break;
        }
      }
    }
  }

  #readGreeting(buffer: Buffer, from: number, length: number): number {
    const before = this.#greeting.length;
    this.#greeting += buffer.toString('latin1', from, Math.min(length, from + RESPONSE_HEAD_BYTES_MAX));
    const end = this.#greeting.indexOf('\r\n\r\n');
    if (end < 0) {
      if (this.#greeting.length > RESPONSE_HEAD_BYTES_MAX)
        this.end(new BlobError('unavailable', 'it does not speak our protocol'));
      return length;
    }
    const status = /^HTTP\/1\.1 (\d{3})/.exec(this.#greeting)?.[1];
    if (status !== '101') {
      this.end(
        status === '503'
          ? new BlobError('busy', 'it is busy')
          : new BlobError('unavailable', status === '403' ? 'it does not admit this node' : `it answered ${status}`),
      );
      return length;
    }
    this.#stage = 'head';
    return from + end + 4 - before;
  }

  #readHead(): void {
    this.#headBytes = 0;
    const expected = this.#expected[0];
    const wanted = this.#head.readUInt32BE(1);
    if (this.#head[0] === ANSWERS.missing) {
      this.end(new BlobError('not_held', 'it does not have it any more'));
      return;
    }
    if (this.#head[0] === ANSWERS.busy) {
      this.end(new BlobError('busy', 'it is busy'));
      return;
    }
    if (
      expected === undefined ||
      this.#head[0] !== ANSWERS.ok ||
      wanted > expected.bytesMax ||
      (expected.exact && wanted !== expected.bytesMax)
    ) {
      this.end(new BlobError('corrupt', 'it sent something that was not asked for'));
      return;
    }
    if (this.#body.length < wanted) this.#body = Buffer.allocUnsafeSlow(wanted);
    this.#wantedBytes = wanted;
    this.#bodyBytes = 0;
    this.#stage = 'body';
    if (wanted === 0) this.#handOver();
  }

  #handOver(): void {
    this.#stage = 'head';
    this.#expected.shift()!.take(this.#body.subarray(0, this.#wantedBytes));
  }
}
