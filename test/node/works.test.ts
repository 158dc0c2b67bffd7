import { describe, expect, it, vi } from 'vitest';
import { enginesFor } from '../../node/daemon/works.ts';
import type { Networks } from '../../node/runtime/network/networks.ts';

describe('the engines of a node', () => {
  const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
  const bwrap = '/usr/bin/bwrap';

  it('are none where they would listen on the network of the machine, which is said', async () => {
    expect([...(await enginesFor({ bwrap, networks: {} as Networks }, log)).keys()]).toContain('postgres');
    expect(log.warn).not.toHaveBeenCalled();
    expect((await enginesFor({ bwrap, networks: undefined }, log)).size).toBe(0);
    expect(log.warn.mock.calls[0]![1].message).toMatch(
      /^this node runs no services, though it has .*start it as root$/,
    );
  });
});
