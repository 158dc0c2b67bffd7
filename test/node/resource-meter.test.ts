// What a node measures of itself: on this machine, on a small file system, and as kernels of other machines write it.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Measure } from '../../node/core/pressure.ts';
import { measureResources, ResourceMeter } from '../../node/daemon/resource-meter.ts';
import { run } from '../../scripts/local-cluster.ts';

const MIB = 1024 * 1024;
const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'peer-meter-'));
});
afterEach(async () => {
  await run(['umount', '-q', join(folder, 'small')]);
  await rm(folder, { recursive: true, force: true });
});

const named = (measures: Measure[], resource: string): Measure | undefined =>
  measures.find((one) => one.resource === resource);

async function smallDisk(options: string): Promise<string> {
  const small = join(folder, 'small');
  await mkdir(small);
  const mounted = await run(['mount', '-t', 'tmpfs', '-o', options, 'peer-test', small]);
  expect(mounted, mounted.stderr).toMatchObject({ code: 0 });
  return small;
}

describe('a look at this machine', () => {
  it('finds all four, each with something free', async () => {
    const measures = await measureResources({ dataDir: folder });
    for (const { resource, free, total } of measures) {
      expect(free, resource).toBeGreaterThan(0);
      expect(total, resource).toBeGreaterThanOrEqual(free);
    }
    expect(measures.map(({ resource }) => resource)).toEqual(expect.arrayContaining(['disk', 'memory', 'descriptors']));
  });

  it('tells the file system that has least of those that hold the data directory', async () => {
    const small = await smallDisk('size=4m,nr_inodes=64');
    await mkdir(join(small, 'data'));
    const measures = await measureResources({ dataDir: join(small, 'data') });
    expect(named(measures, 'disk')!.total).toBe(4 * MIB);
    expect(named(measures, 'inodes')!.total).toBe(64);
    await writeFile(join(small, 'filler'), Buffer.alloc(3 * MIB));
    const later = await measureResources({ dataDir: join(small, 'data') });
    expect(named(later, 'disk')!.free).toBeLessThanOrEqual(MIB);
  });
});

describe('memory', () => {
  const proc = (): string => join(folder, 'proc');
  const cgroups = (): string => join(folder, 'cgroups');
  async function kernel(files: Record<string, string>): Promise<Measure> {
    const all = {
      'proc/meminfo': 'MemTotal:       16777216 kB\nMemFree:         1048576 kB\nMemAvailable:    8388608 kB\n',
      ...files,
    };
    for (const [name, text] of Object.entries(all)) {
      await mkdir(join(folder, name, '..'), { recursive: true });
      await writeFile(join(folder, name), text);
    }
    const measures = await measureResources({ dataDir: folder, proc: proc(), cgroups: cgroups() });
    return named(measures, 'memory')!;
  }

  it('is what the kernel calls available', async () => {
    expect(await kernel({})).toEqual({ resource: 'memory', free: 8192 * MIB, total: 16384 * MIB });
  });

  it('comes with how long everything waited for it, where the kernel tells', async () => {
    const text = 'some avg10=90.00 avg60=50.00 avg300=9.00 total=1\nfull avg10=60.00 avg60=42.50 avg300=9.00 total=1\n';
    expect(await kernel({ 'proc/pressure/memory': text })).toMatchObject({ stalled: 0.425 });
  });

  it('is that of the smallest control group of version 2 above the daemon, cached files left out', async () => {
    const found = await kernel({
      'proc/self/cgroup': '0::/machine.slice/peer\n',
      'cgroups/machine.slice/memory.max': `${512 * MIB}\n`,
      'cgroups/machine.slice/memory.current': `${500 * MIB}\n`,
      'cgroups/machine.slice/memory.stat': `anon 1\ninactive_file ${88 * MIB}\n`,
      'cgroups/machine.slice/peer/memory.max': 'max\n',
      'cgroups/machine.slice/peer/memory.current': `${400 * MIB}\n`,
    });
    expect(found).toEqual({ resource: 'memory', free: 100 * MIB, total: 512 * MIB });
  });

  it('is that of a control group of version 1, unless it has no limit', async () => {
    const files = {
      'proc/self/cgroup': '9:name=systemd:/\n4:memory:/box\n0::/\n',
      'cgroups/memory/box/memory.limit_in_bytes': `${256 * MIB}\n`,
      'cgroups/memory/box/memory.usage_in_bytes': `${200 * MIB}\n`,
      'cgroups/memory/box/memory.stat': `inactive_file 1\ntotal_inactive_file ${4 * MIB}\n`,
      'cgroups/memory/memory.limit_in_bytes': '9223372036854771712\n',
      'cgroups/memory/memory.usage_in_bytes': `${4096 * MIB}\n`,
    };
    expect(await kernel(files)).toEqual({ resource: 'memory', free: 60 * MIB, total: 256 * MIB });
  });
});

describe('a meter', () => {
  it('looks at once after a failure for want of a resource, and not after others', async () => {
    const seen: Measure[][] = [];
    const meter = new ResourceMeter({ paths: { dataDir: folder }, onMeasures: (found) => seen.push(found), log });
    try {
      expect(meter.failed(new Error('exit status 1'))).toBe(false);
      for (let burst = 0; burst < 50; burst++) {
        expect(meter.failed(Object.assign(new Error('no space'), { code: 'ENOSPC' }))).toBe(true);
      }
      await vi.waitFor(() => expect(seen.length).toBeGreaterThan(0), 5_000);
      // A burst is one look.
      expect(seen).toHaveLength(1);
    } finally {
      meter.stop();
    }
  });
});
