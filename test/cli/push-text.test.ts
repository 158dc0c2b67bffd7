import { describe, expect, it } from 'vitest';
import { pushedText } from '../../cli/commands/push.ts';
import type { RolloutShape } from '../../node/api/shapes.ts';

const result = (changes: Partial<RolloutShape>): RolloutShape => ({
  app: 'shop',
  release: 'v1',
  processes: ['web'],
  desired: { web: 1 },
  droplet: null,
  buildpack: null,
  routes: ['shop.localhost'],
  urls: ['http://shop.localhost/'],
  instances: [{ state: 'ready' } as RolloutShape['instances'][number]],
  ...changes,
});

describe('what is said of an app that was pushed', () => {
  it.each<[what: string, Partial<RolloutShape>, text: string]>([
    ['that serves', {}, 'shop v1: 1 instance ready, http://shop.localhost/'],
    ['without a route', { routes: [], urls: [] }, 'shop v1: 1 instance ready, no route'],
    [
      'of which nothing runs, as none of its processes is the web process',
      { processes: ['clock', 'worker'], desired: { clock: 0, worker: 0 }, instances: [] },
      'shop v1: nothing of it runs yet, its processes are clock, worker: peer scale shop clock=1',
    ],
    ['of which a worker runs', { processes: ['worker'], desired: { worker: 1 } }, 'shop v1: 1 instance ready, http'],
  ])('%s', (_, changes, text) => {
    expect(pushedText(result(changes)).startsWith(text)).toBe(true);
  });
});
