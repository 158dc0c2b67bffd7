// Asks the API in process, without a listener: requests as a role, JSON out, event streams as lists.

import type { Role } from '../../crdt/schema.ts';
import { createApi } from '../../node/api/api.ts';
import { MemoryNode, memoryLog, tokenOf } from './memory-node.ts';

export type SentEvent = { type: string; [field: string]: unknown };

export function testApi(node: MemoryNode = new MemoryNode()) {
  const log = memoryLog();
  const api = createApi({ service: node, log });
  const withToken = (token: string) => ({
    // biome-ignore lint/suspicious/noExplicitAny: assertions say what it should be.
    async send(method: string, path: string, body?: unknown): Promise<{ status: number; body: any }> {
      const response = await api.request(path, {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      return { status: response.status, body: await response.json() };
    },
    get(path: string) {
      return this.send('GET', path);
    },
    post(path: string, body?: unknown) {
      return this.send('POST', path, body);
    },
    async push(name: string, options: object = {}, source: BodyInit = 'a tarball') {
      const response = await api.request(`/v1/apps/${name}/push`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${token}`,
          'x-peer-push': Buffer.from(JSON.stringify(options)).toString('base64url'),
        },
        body: source,
        ...(typeof source === 'string' ? {} : { duplex: 'half' }),
      } as RequestInit);
      return { status: response.status, events: response.ok ? await eventsOf(response) : [], response };
    },
    async stream(path: string, init: RequestInit = {}) {
      const headers = { authorization: `Bearer ${token}` };
      return api.request(path, { ...init, headers });
    },
    async events(path: string): Promise<SentEvent[]> {
      return eventsOf(await this.stream(path));
    },
  });
  const as = (role: Role) => withToken(tokenOf(role));
  return { api, node, log, withToken, admin: as('admin'), developer: as('developer'), viewer: as('viewer') };
}

export async function eventsOf(response: Response): Promise<SentEvent[]> {
  return parseEvents(await response.text());
}

export function parseEvents(text: string): SentEvent[] {
  return text
    .split('\n\n')
    .filter((block) => block.startsWith('event: '))
    .map((block) => {
      const [event, data] = block.split('\n');
      return { type: event!.slice('event: '.length), ...JSON.parse(data!.slice('data: '.length)) };
    });
}
