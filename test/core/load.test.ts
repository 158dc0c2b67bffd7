// Load is no news by itself, yet it decides between nodes: they must decide on the same numbers, or none fills a slot.

import { describe, expect, it } from 'vitest';
import type { AppView } from '../../crdt/view.ts';
import { app, LittleCluster } from './little-cluster.ts';

describe('load', () => {
  it.each(['one', 'two', 'three', 'four', 'five', 'six'])(
    'measured, but not told yet, does not keep the slot of app %s empty',
    (name) => {
      const cluster = new LittleCluster(['a', 'b', 'c'], []);
      cluster.run(5_000);
      cluster.post('a', { type: 'resourcesMeasured', load: 5 });
      cluster.changeApps([app(name)]);
      cluster.run(1_000);
      expect(cluster.ready()).toHaveLength(1);
    },
  );

  it('that changes all the time, with news of it on its way, does not keep a slot empty', () => {
    const cluster = new LittleCluster(['a', 'b', 'c'], []);
    cluster.run(5_000);
    const apps: AppView[] = [];
    for (let round = 1; round <= 60; round++) {
      for (const [index, node] of ['a', 'b', 'c'].entries()) {
        cluster.post(node, { type: 'resourcesMeasured', load: (round * (index + 3)) % 7 });
        cluster.run((round * 37 + index * 11) % 400);
      }
      // Instances take no room to speak of: what decides is the load.
      apps.push(app(`app-${round}`, { memoryBytes: 1 }));
      cluster.changeApps([...apps]);
      cluster.run(1_000);
      expect(cluster.ready(), `round ${round}`).toHaveLength(apps.length);
    }
  });
});
