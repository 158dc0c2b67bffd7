// Holds processes to a share of one core by a control group of their own, on control groups of version 1 and 2.

import { mkdir, rmdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const PERIOD_US = 100_000;

/** One group for each set of processes that is held. */
export class CpuCage {
  readonly #root: string;
  readonly #isV2: boolean;
  readonly #share: number;
  #groups: string[] = [];

  private constructor(root: string, isV2: boolean, share: number) {
    this.#root = root;
    this.#isV2 = isV2;
    this.#share = share;
  }

  /** @param share of one core, for each group. */
  static async create(share: number): Promise<CpuCage> {
    const isV2 = await stat('/sys/fs/cgroup/cgroup.controllers').then(
      () => true,
      () => false,
    );
    return new CpuCage(isV2 ? '/sys/fs/cgroup' : '/sys/fs/cgroup/cpu', isV2, share);
  }

  /** What they start from now on is held with them, unless it is moved elsewhere. */
  async hold(pids: readonly number[]): Promise<void> {
    const group = join(this.#root, `peer-cage-${process.pid}-${this.#groups.length + 1}`);
    await mkdir(group);
    this.#groups.push(group);
    const quotaUs = String(Math.round(this.#share * PERIOD_US));
    if (this.#isV2) await writeFile(join(group, 'cpu.max'), `${quotaUs} ${PERIOD_US}`);
    else {
      await writeFile(join(group, 'cpu.cfs_period_us'), String(PERIOD_US));
      await writeFile(join(group, 'cpu.cfs_quota_us'), quotaUs);
    }
    for (const pid of pids) await writeFile(join(group, 'cgroup.procs'), String(pid));
  }

  /** The processes must have ended. */
  async remove(): Promise<void> {
    for (const group of this.#groups) await rmdir(group).catch(() => {});
    this.#groups = [];
  }
}
