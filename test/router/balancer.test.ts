import { describe, expect, it } from 'vitest';
import { asAppId, asInstanceId, asNodeId } from '../../crdt/ids.ts';
import type { Upstream } from '../../node/core/types.ts';
import { Balancer } from '../../node/router/balancer.ts';
import { FAILED_UPSTREAM_SKIP_MS, UPSTREAM_REQUESTS_MAX } from '../../node/router/limits.ts';

const upstream = (name: string, local: boolean): Upstream => ({
  instance: asInstanceId(name),
  app: asAppId('app'),
  index: 0,
  node: asNodeId(local ? 'self' : 'other'),
  ...(local ? { port: 1 } : { link: 'h:1' }),
});
const local = upstream('local', true);
const far = upstream('far', false);
const further = upstream('further', false);
const picked = (value: ReturnType<Balancer['pick']>) => (typeof value === 'object' ? value.instance : value);

describe('the choice of an upstream', () => {
  it('takes the local one when it is not busier', () => {
    const balancer = new Balancer();
    balancer.begin(local.instance, 'requests');
    balancer.begin(far.instance, 'requests');
    for (let n = 0; n < 5; n++) expect(picked(balancer.pick([far, local], undefined, 0))).toBe('local');
  });

  it('takes a remote one as soon as the local one is busier', () => {
    const balancer = new Balancer();
    balancer.begin(local.instance, 'requests');
    expect(picked(balancer.pick([local, far], undefined, 0))).toBe('far');
    balancer.end(local.instance, 'requests');
    expect(picked(balancer.pick([local, far], undefined, 0))).toBe('local');
  });

  it('counts open websockets as load', () => {
    const balancer = new Balancer();
    balancer.begin(local.instance, 'tunnels');
    expect(picked(balancer.pick([local, far], undefined, 0))).toBe('far');
  });

  it('rotates among equals', () => {
    const balancer = new Balancer();
    const seen = new Set([0, 1, 2, 3].map(() => picked(balancer.pick([far, further], undefined, 0))));
    expect(seen).toEqual(new Set(['far', 'further']));
  });

  it('skips one that failed for a while, then takes it back', () => {
    const balancer = new Balancer();
    balancer.fail(local.instance, 0);
    expect(picked(balancer.pick([local, far], undefined, FAILED_UPSTREAM_SKIP_MS - 1))).toBe('far');
    expect(picked(balancer.pick([local, far], undefined, FAILED_UPSTREAM_SKIP_MS))).toBe('local');
  });

  it('takes all back when all have failed', () => {
    const balancer = new Balancer();
    balancer.fail(local.instance, 0);
    balancer.fail(far.instance, 0);
    expect(picked(balancer.pick([local, far], undefined, 1))).toBe('local');
    expect(picked(balancer.pick([local, far], new Set([local.instance]), 1))).toBe('far');
  });

  it('names none when all have been tried', () => {
    expect(new Balancer().pick([local], new Set([local.instance]), 0)).toBeUndefined();
  });

  it('says so when all have as many requests as they may', () => {
    const balancer = new Balancer();
    for (let n = 0; n < UPSTREAM_REQUESTS_MAX; n++) balancer.begin(local.instance, 'requests');
    expect(balancer.pick([local], undefined, 0)).toBe('saturated');
    balancer.end(local.instance, 'requests');
    expect(picked(balancer.pick([local], undefined, 0))).toBe('local');
  });

  it('remembers the load of instances in use when the table changes', () => {
    const balancer = new Balancer();
    balancer.begin(local.instance, 'requests');
    balancer.retain(new Set());
    expect(picked(balancer.pick([local, far], undefined, 0))).toBe('far');
  });
});
