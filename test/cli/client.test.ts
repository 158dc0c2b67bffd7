import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { answer } from '../../cli/client.ts';
import { send } from '../../cli/transport.ts';
import { explain } from '../../cli/unreachable.ts';

const response = (status: number, text: string) => Promise.resolve(new Response(text, { status }));

describe('an answer', () => {
  it('is the document that the node sent', async () => {
    expect(await answer(response(200, '{"name":"hello"}'))).toEqual({ name: 'hello' });
  });

  it('that is a failure says what the node said', async () => {
    const failure = response(404, '{"error":{"code":"not_found","message":"there is no app x"}}');
    await expect(answer(failure)).rejects.toMatchObject({ code: 'not_found', message: 'there is no app x' });
  });

  it.each([
    [200, 'hello'],
    [200, ''],
    [404, '<html>'],
    [500, '{"oops":true}'],
    [500, 'null'],
  ])('%d %j is not from a node', async (status, text) => {
    await expect(answer(response(status, text))).rejects.toMatchObject({
      code: 'bad_answer',
      message: `the answer (HTTP ${status}) is not from a Peer node: check --api`,
    });
  });
});

describe('a node that cannot be reached', () => {
  const failure = (code: string) => Object.assign(new Error(code), { code });
  it.each([
    ['ECONNREFUSED', 'http://127.0.0.1:1', 'is it running? Start it with: peer start'],
    ['ENOTFOUND', 'https://foo:7600', 'there is no host of that name: is it running, and is the address right'],
    ['EAI_AGAIN', 'https://foo:7600', 'no name server says which host that is: is it running, and is the address'],
    ['ECONNREFUSED', 'https://foo:7600', 'nothing listens there: is it running, and is the address right (--api,'],
  ])('%s at %s is told with what to do', (code, origin, message) => {
    const told = explain(failure(code), origin);
    expect(told).toMatchObject({ code: 'unreachable', exitStatus: 1 });
    expect(told.message).toContain(`cannot reach the node at ${origin}: ${message}`);
  });

  const children: ChildProcess[] = [];
  afterEach(() => {
    vi.unstubAllEnvs();
    for (const child of children.splice(0)) child.kill('SIGKILL');
  });

  it('is given up on when it takes no connection, which a stream would wait for much longer', async () => {
    vi.stubEnv('PEER_TIMEOUT', '1s');
    const port = await portWithoutRoom(children);
    const origin = `http://127.0.0.1:${port}`;
    for (const [at, fingerprint] of [
      [origin, undefined],
      [origin.replace('http:', 'https:'), 'AB:CD'],
    ] as const) {
      await expect(send(at, { streams: true }, fingerprint)).rejects.toMatchObject({
        code: 'unreachable',
        message: expect.stringContaining(`cannot reach the node at ${at}: no connection within 1 s`),
      });
    }
  });
});

/**
 * Of a process that stands still, with as many connections waiting as it has room for: what comes then gets no
 * answer.
 */
async function portWithoutRoom(children: ChildProcess[]): Promise<number> {
  const script = `require('net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, function () {
    console.log(this.address().port);
  })`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const [line] = await once(child.stdout!, 'data');
  const port = Number(String(line));
  child.kill('SIGSTOP');
  await vi.waitFor(() => expect(readFileSync(`/proc/${child.pid}/stat`, 'utf8')).toContain(') T '));
  // One more than the backlog says has room.
  for (let count = 0; count < 2; count++) {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => {});
    await once(socket, 'connect');
  }
  return port;
}
