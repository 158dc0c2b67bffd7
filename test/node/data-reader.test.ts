// What only the node of a service or a volume knows, asked from any node.

import * as v from 'valibot';
import { describe, expect, it, vi } from 'vitest';
import { asAppId, asBindingId, asNodeId, asServiceId, asVolumeId, type NodeId } from '../../crdt/ids.ts';
import type { DesiredView, ServiceView, VolumeView } from '../../crdt/view.ts';
import { DataReader } from '../../node/cluster/data-reader.ts';
import type { Method } from '../../node/ports/methods.ts';
import type { ServicesDesk } from '../../node/ports/services-desk.ts';

const here = asNodeId('here');
const there = asNodeId('there');
const service = asServiceId('db');
const id = asVolumeId('data');
const status = { bindings: [asBindingId('b1')], connections: 2, usedBytes: 1024 };
const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };

/** Two nodes whose requests reach each other as the table of methods lets them through. */
function cluster(dataOn: NodeId, desk: ServicesDesk, isThere: (node: NodeId) => boolean = () => true) {
  const volume = { id, owner: asAppId(service), node: dataOn } as VolumeView;
  const view = () =>
    ({
      services: new Map([[service, { id: service, volume } as ServiceView]]),
      volumes: new Map([[id, volume]]),
    }) as unknown as DesiredView;
  const handlers = new Map<string, (request: unknown) => Promise<unknown>>();
  const asked: string[] = [];
  const nothing: ServicesDesk = {
    status: async () => Promise.reject(new Error('it does not run here')),
    volume: async () => Promise.reject(new Error('it is not here')),
    exportDoor: async () => ({ isOpen: false }),
  };
  const readerOn = (self: NodeId) =>
    new DataReader({
      self,
      desk: self === dataOn ? desk : nothing,
      view,
      isThere,
      log,
      gossip: {
        handle: ((method: Method<unknown, unknown>, handler: (request: unknown) => Promise<unknown>) => {
          handlers.set(`${self} ${method.name}`, handler);
        }) as never,
        request: (async (node: NodeId, method: Method<unknown, unknown>, request: unknown) => {
          asked.push(`${node} ${method.name}`);
          const answer = await handlers.get(`${node} ${method.name}`)!(v.parse(method.request, request));
          return v.parse(method.reply, answer);
        }) as never,
      },
    });
  readerOn(there);
  return { reader: readerOn(here), asked };
}

const desk: ServicesDesk = {
  status: async () => status,
  volume: async () => ({ path: '/data/volumes/data' }),
  exportDoor: async () => ({ isOpen: true }),
};

describe('what a node knows of its data', () => {
  it('is asked of that node', async () => {
    const { reader, asked } = cluster(there, desk);
    expect(await reader.serviceStatus(service)).toEqual(status);
    expect(await reader.volumeStatus(id)).toEqual({ path: '/data/volumes/data' });
    expect(asked).toEqual(['there service.status', 'there volume.status']);
  });

  it('is asked of no other where it is here', async () => {
    const { reader, asked } = cluster(here, desk);
    expect(await reader.serviceStatus(service)).toEqual(status);
    expect(await reader.volumeStatus(id)).toEqual({ path: '/data/volumes/data' });
    expect(asked).toEqual([]);
  });

  it('is not asked of a node that is gone, nor of what is not there', async () => {
    const { reader, asked } = cluster(there, desk, () => false);
    expect(await reader.serviceStatus(service)).toBeUndefined();
    expect(await reader.serviceStatus(asServiceId('other'))).toBeUndefined();
    expect(await reader.volumeStatus(asVolumeId('other'))).toBeUndefined();
    expect(asked).toEqual([]);
  });

  it('is unknown when that node does not answer', async () => {
    const failing = { ...desk, status: async () => Promise.reject(new Error('the engine starts')) };
    const { reader } = cluster(there, failing);
    expect(await reader.serviceStatus(service)).toBeUndefined();
  });
});
