import { describe, expect, it } from 'vitest';
import { asAppId, asInstanceId, asNodeId } from '../../crdt/ids.ts';
import { forwardedHeaders, headersForUpstream, readRequestHead } from '../../node/router/request-head.ts';
import { responseHeaders } from '../../node/router/response-head.ts';
import { boundInstance, stickyCookie } from '../../node/router/sticky.ts';
import { TokenBucket } from '../../node/router/token-bucket.ts';

const forwarding = { remoteAddress: '::ffff:10.0.0.9', host: 'shop.test:80', requestId: 'id-1', nowMs: 1234 };
const passed = (...raw: string[]) => forwardedHeaders(readRequestHead(raw, 'client'), forwarding);
const value = (headers: string[], name: string) => headers[headers.indexOf(name) + 1];

describe('the request header an upstream gets', () => {
  it('says where the request came from', () => {
    expect(passed('Host', 'shop.test:80')).toEqual([
      ...['Host', 'shop.test:80'],
      ...['X-Forwarded-For', '10.0.0.9'],
      ...['X-Forwarded-Proto', 'http'],
      ...['X-Forwarded-Host', 'shop.test:80'],
      ...['X-Request-Start', '1234'],
      ...['X-Vcap-Request-Id', 'id-1'],
    ]);
  });

  it('appends to what proxies before it have said', () => {
    const headers = passed(
      ...['X-Forwarded-For', '1.1.1.1', 'x-forwarded-for', '2.2.2.2'],
      ...['X-Forwarded-Proto', 'https', 'X-Forwarded-Host', 'public.test', 'X-Request-Start', '7'],
    );
    expect(value(headers, 'X-Forwarded-For')).toBe('1.1.1.1, 2.2.2.2, 10.0.0.9');
    expect(headers.filter((_, at) => at % 2 === 0)).toEqual([
      'X-Forwarded-Proto',
      'X-Forwarded-Host',
      'X-Request-Start',
      'X-Forwarded-For',
      'X-Vcap-Request-Id',
    ]);
  });

  it('drops what ends at this hop, and what Connection names', () => {
    const headers = passed(
      ...[
        'Connection',
        'keep-alive, X-Private, Host',
        'X-Private',
        '1',
        'Host',
        'h',
        'Keep-Alive',
        '5',
        'TE',
        'trailers',
      ],
      ...[
        'Transfer-Encoding',
        'chunked',
        'Upgrade',
        'h2c',
        'Expect',
        '100-continue',
        'Proxy-Authorization',
        'x',
        'Kept',
        '1',
      ],
    );
    expect(headers.slice(0, 4)).toEqual(['Host', 'h', 'Kept', '1']);
    expect(headers.join(' ')).not.toMatch(/private|keep-alive|chunked|h2c|expect|proxy/i);
  });

  it('believes no client that speaks as a router', () => {
    const headers = passed('X-Peer-Instance', 'other', 'x-cf-instanceid', 'other', 'X-Vcap-Request-Id', 'mine');
    expect(headers.join(' ')).not.toMatch(/other|mine/);
  });

  it('names the instance, on the link too', () => {
    const upstream = { instance: asInstanceId('i-1'), app: asAppId('a-1'), index: 2, node: asNodeId('n-1') };
    const expected = ['X-CF-ApplicationID', 'a-1', 'X-CF-InstanceID', 'i-1', 'X-CF-InstanceIndex', '2'];
    expect(headersForUpstream([], upstream, asNodeId('n-1'))).toEqual(expected);
    const onLink = headersForUpstream([], upstream, asNodeId('n-2'));
    expect(onLink).toEqual([...expected, 'x-peer-instance', 'i-1']);
    expect(readRequestHead(onLink, 'link').passed).toEqual(expected);
  });
});

describe('the response header a client gets', () => {
  it('keeps order, spelling and repetition, and drops what ends at this hop', () => {
    const raw = ['X-One', '1', 'Set-Cookie', 'a=1', 'Connection', 'close, X-Hop', 'X-Hop', '1', 'set-cookie', 'b=2'];
    expect(
      responseHeaders(
        [...raw, 'Transfer-Encoding', 'chunked', 'x-peer-link-error', 'dial'].map((text) => Buffer.from(text)),
      ),
    ).toEqual(['X-One', '1', 'Set-Cookie', 'a=1', 'set-cookie', 'b=2']);
  });
});

describe('sticky sessions', () => {
  const here = asInstanceId('here');
  it.each([
    [undefined, undefined],
    ['a=1', undefined],
    ['__VCAP_ID__=here', undefined],
    ['JSESSIONID=s', undefined],
    ['JSESSIONID=s; __VCAP_ID__=here', 'here'],
    ['__VCAP_ID__=here;JSESSIONID=s', 'here'],
  ])('a client that sends %s is bound to %s', (cookie, instance) => {
    expect(boundInstance(cookie)).toBe(instance);
  });

  it.each([
    [[], undefined, undefined],
    [['Set-Cookie', 'a=1'], undefined, undefined],
    [['Set-Cookie', 'JSESSIONID=s'], undefined, '__VCAP_ID__=here; Path=/; HttpOnly'],
    [
      [
        'set-cookie',
        'JSESSIONID=s; Path=/shop; Secure; SameSite=Strict; Expires=Wed, 01 Jan 2031 00:00:00 GMT; Domain=x',
      ],
      undefined,
      '__VCAP_ID__=here; Path=/shop; Secure; SameSite=Strict; Expires=Wed, 01 Jan 2031 00:00:00 GMT; HttpOnly',
    ],
    [['Set-Cookie', 'JSESSIONID=; Max-Age=0'], 'here', '__VCAP_ID__=here; Path=/; Max-Age=0; HttpOnly'],
    [[], 'here', undefined],
    [[], 'gone', '__VCAP_ID__=here; Path=/; HttpOnly'],
    [['Set-Cookie', 'JSESSIONID=s', 'Set-Cookie', '__VCAP_ID__=own'], undefined, undefined],
  ])('%j of an instance, to a client bound to %s, adds %s', (headers, bound, expected) => {
    expect(stickyCookie(headers, here, bound === undefined ? undefined : asInstanceId(bound))).toBe(expected);
  });
});

describe('the rate of joins', () => {
  it('allows a burst, then so many a second, whatever the clock does', () => {
    const bucket = new TokenBucket({ perSecond: 10, burst: 2, nowMs: 1_000 });
    expect([1_000, 1_000, 1_000, 1_050, 1_100, 900, 1_199, 1_200].map((at) => bucket.take(at))).toEqual([
      true,
      true,
      false,
      false,
      true,
      false,
      false,
      true,
    ]);
  });
});
