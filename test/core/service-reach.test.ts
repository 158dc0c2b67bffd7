// How a node reaches services: by its kernel where they run here, by a door where they run elsewhere.

import { describe, expect, it } from 'vitest';
import { asAppId, asNodeId, asServiceId } from '../../crdt/ids.ts';
import { type ServiceReachInput, serviceHosts, serviceReach } from '../../node/core/service-reach.ts';
import type { ServiceTable } from '../../node/ports/router.ts';
import type { ServiceCall } from '../../node/ports/runtime.ts';

const [NEAR, FAR, IDLE] = [asServiceId('near'), asServiceId('far'), asServiceId('idle')];
const [SHOP, BLOG] = [asAppId('shop'), asAppId('blog')];
const service = (id: typeof NEAR, last: number) =>
  [id, { id, name: id, kind: 'postgres', address: `198.18.0.${last}` }] as const;
const near = { host: '10.0.0.9', port: 5432 };
const far = { node: asNodeId('n2'), link: 'n2:7600' };

const input = (over: Partial<ServiceReachInput> = {}): ServiceReachInput => ({
  services: new Map([service(NEAR, 1), service(FAR, 2), service(IDLE, 3)]),
  bindings: [
    { service: NEAR, app: SHOP },
    { service: NEAR, app: BLOG },
    { service: NEAR, app: SHOP },
    { service: FAR, app: SHOP },
  ],
  places: new Map<typeof NEAR, typeof near | typeof far>([
    [NEAR, near],
    [FAR, far],
  ]),
  portOf: (kind) => (kind === 'postgres' ? 5432 : undefined),
  gateway: '10.0.0.1',
  isDirect: true,
  doors: [],
  ...over,
});
const nearCall = { service: NEAR, address: '198.18.0.1', port: 5432, apps: [BLOG, SHOP], to: near };

describe('services', () => {
  it('that run here are called straight, and those elsewhere through a door once it is open', () => {
    const { table, calls } = serviceReach(input());
    // What is said here is what the ports take.
    const told: { table: ServiceTable; calls: readonly ServiceCall[] } = { table, calls };
    expect(told.table.places.map((one) => one.place)).toEqual([near, far]);
    expect(told.table.doors).toEqual([{ service: FAR, listen: { host: '10.0.0.1', port: 0 } }]);
    expect(told.calls).toEqual([nearCall]);
    const doors = [{ service: FAR, host: '10.0.0.1', port: 40_001 }];
    expect(serviceReach(input({ doors })).calls).toEqual([
      nearCall,
      { service: FAR, address: '198.18.0.2', port: 5432, apps: [SHOP], to: { host: '10.0.0.1', port: 40_001 } },
    ]);
  });

  it('are never called through a door that is open to others', () => {
    const doors = [{ service: FAR, host: '192.168.1.5', port: 5432, exported: true as const }];
    expect(serviceReach(input({ doors })).calls).toEqual([nearCall]);
  });

  it('that run nowhere keep their door, and are led nowhere', () => {
    const { table } = serviceReach(input({ places: new Map() }));
    expect(table.places).toEqual([]);
    expect(table.doors.map((door) => door.service)).toEqual([NEAR, FAR]);
  });

  it('that nobody is bound to are called by nobody, and those without a port neither', () => {
    expect(serviceReach(input({ bindings: [] }))).toMatchObject({ table: { doors: [] }, calls: [] });
    expect(serviceReach(input({ portOf: () => undefined }))).toMatchObject({ table: { doors: [] }, calls: [] });
  });

  it('have a loopback address each where instances share the network of the machine', () => {
    const { table, calls } = serviceReach(input({ gateway: undefined }));
    expect(table.doors).toEqual([
      { service: NEAR, listen: { host: '127.18.0.1', port: 5432 } },
      { service: FAR, listen: { host: '127.18.0.2', port: 5432 } },
    ]);
    expect(calls).toEqual([]);
  });

  it('are known by name to the apps that are bound to them', () => {
    expect(serviceHosts(SHOP, input())).toEqual([
      { name: 'far.service.internal', address: '198.18.0.2' },
      { name: 'near.service.internal', address: '198.18.0.1' },
    ]);
    expect(serviceHosts(asAppId('other'), input())).toEqual([]);
  });
});
