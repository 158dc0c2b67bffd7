// The streams of a command that an engine runs: one connection that carries both directions, taken apart without a
// buffer of its own that could grow.

import { type Duplex, PassThrough, type Readable, Writable } from 'node:stream';
import { roomIn } from '../../lib/back-pressure.ts';
import type { Attended, CommandExit, TerminalSize } from '../../ports/commands.ts';

/**
 * @see https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach "Stream
 * format"
 */
const HEADER_BYTES = 8;
const STDERR = 2;
/** After the command has ended, how long the engine may take to say so by ending the stream. */
const STREAM_END_TIMEOUT_MS = 5_000;

export type AttachedRun = {
  stream: Duplex;
  terminal: boolean;
  resize(size: TerminalSize): Promise<unknown>;
  kill(): Promise<void>;
  /**
   * Resolves when the command has ended, with its status. `note`: a line for whoever attends, after all that the
   * command said.
   */
  wait(): Promise<{ code: number; reason?: string; note?: string }>;
  cleanUp(): Promise<void>;
};

export class AttachedCommand implements Attended {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly exited: Promise<CommandExit>;
  readonly #run: AttachedRun;
  #reason: string | undefined;
  #over = false;

  constructor(run: AttachedRun) {
    this.#run = run;
    const { stream } = run;
    stream.on('error', () => {});
    const out = new PassThrough();
    const err = new PassThrough();
    this.stdout = out;
    this.stderr = err;
    this.stdin = new Writable({
      write(chunk, _encoding, done) {
        if (!stream.writable || stream.write(chunk)) done();
        else void roomIn(stream).then(() => done());
      },
      final(done) {
        stream.end();
        done();
      },
    });
    // Takes no more, without an error, once the command reads no more.
    this.stdin.on('error', () => {});
    const passed = pass(stream, { out, err, framed: !run.terminal });
    this.exited = this.#exit(passed, err);
  }

  resize(size: TerminalSize): void {
    if (this.#run.terminal && !this.#over) this.#run.resize(size).catch(() => {});
  }

  end(reason: string): void {
    if (this.#over) return;
    this.#reason ??= reason;
    void this.#run.kill().catch(() => {});
    // The engine says nothing of its end while it holds output that nobody takes.
    setTimeout(() => this.#run.stream.destroy(), STREAM_END_TIMEOUT_MS).unref();
  }

  async #exit(passed: Promise<void>, err: PassThrough): Promise<CommandExit> {
    const ended: Awaited<ReturnType<AttachedRun['wait']>> = await this.#run.wait().catch(() => ({ code: 137 }));
    this.#over = true;
    const timer = setTimeout(() => this.#run.stream.destroy(), STREAM_END_TIMEOUT_MS);
    await this.#run.cleanUp().catch(() => {});
    // Not waited for: whoever reads slowly gets the rest when the command has long gone.
    void passed.then(() => {
      clearTimeout(timer);
      if (ended.note !== undefined && !err.destroyed) err.write(`peer: ${ended.note}\n`);
      err.end();
    });
    this.stdin.destroy();
    const reason = this.#reason ?? ended.reason;
    return { code: ended.code, ...(reason === undefined ? {} : { reason }) };
  }
}

type Targets = { out: PassThrough; err: PassThrough; framed: boolean };

/** Never rejects; has passed everything on when it resolves, and ended `out`. */
async function pass(stream: Duplex, { out, err, framed }: Targets): Promise<void> {
  try {
    let header: Buffer = Buffer.alloc(0);
    let missing = 0;
    let target = out;
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      let data = chunk;
      while (data.length > 0) {
        if (framed && missing === 0) {
          const part = data.subarray(0, HEADER_BYTES - header.length);
          header = Buffer.concat([header, part]);
          data = data.subarray(part.length);
          if (header.length < HEADER_BYTES) continue;
          target = header[0] === STDERR ? err : out;
          missing = header.readUInt32BE(4);
          header = Buffer.alloc(0);
          continue;
        }
        const part = framed ? data.subarray(0, missing) : data;
        missing -= framed ? part.length : 0;
        data = data.subarray(part.length);
        if (!target.destroyed && !target.write(part)) await roomIn(target);
      }
    }
  } catch {
    // The stream was cut: the command's end says why.
  } finally {
    out.end();
  }
}
