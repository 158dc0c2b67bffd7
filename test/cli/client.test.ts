import { describe, expect, it } from 'vitest';
import { answer } from '../../cli/client.ts';

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
