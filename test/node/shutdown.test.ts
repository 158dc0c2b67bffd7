// One list orders the end of a node: what came to be last is closed first.

import { describe, expect, it, vi } from 'vitest';
import { Shutdown } from '../../node/daemon/shutdown.ts';

const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };

describe('a shutdown', () => {
  it('closes the parts in the reverse order of their making, each when the one before has closed', async () => {
    const closed: string[] = [];
    const shutdown = new Shutdown(log);
    shutdown.add('first', () => closed.push('first'));
    shutdown.add('second', async () => {
      await new Promise(setImmediate);
      closed.push('second');
    });
    shutdown.add('third', () => closed.push('third'));
    await shutdown.close({ keepInstances: true });
    expect(closed).toEqual(['third', 'second', 'first']);
  });

  it('tells each part whether instances go on', async () => {
    for (const keepInstances of [true, false]) {
      const shutdown = new Shutdown(log);
      const close = vi.fn();
      shutdown.add('runtime', close);
      await shutdown.close({ keepInstances });
      expect(close).toHaveBeenCalledWith({ keepInstances });
    }
  });

  it('goes on when a part cannot be closed, and says which', async () => {
    const closed: string[] = [];
    const shutdown = new Shutdown(log);
    shutdown.add('data directory', () => closed.push('data directory'));
    shutdown.add('gossip', () => Promise.reject(new Error('no')));
    await shutdown.close({ keepInstances: true });
    expect(closed).toEqual(['data directory']);
    expect(log.error).toHaveBeenCalledWith('node.close_failed', expect.objectContaining({ part: 'gossip' }));
  });

  it('happens once, however often it is asked for', async () => {
    const shutdown = new Shutdown(log);
    const close = vi.fn();
    shutdown.add('part', close);
    await Promise.all([shutdown.close({ keepInstances: true }), shutdown.close({ keepInstances: false })]);
    expect(close).toHaveBeenCalledTimes(1);
  });
});
