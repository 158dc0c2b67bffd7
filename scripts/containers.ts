// Removes what nodes that were killed left in this machine's container engine (containers, networks, what they built),
// and their rules. Only for the demo, the benchmarks and the tests.

import { findEngine } from '../node/runtime/docker/engine.ts';
import { NODE_LABEL } from '../node/runtime/docker/labels.ts';
import { policyTable } from '../node/runtime/docker/policy.ts';
import { loadRules } from '../node/runtime/network/nft.ts';

export async function removeContainersOf(nodeIds: Iterable<string>): Promise<void> {
  const { docker } = await findEngine();
  for (const id of nodeIds) {
    const filters = JSON.stringify({ label: [`${NODE_LABEL}=${id}`] });
    const containers = await docker.listContainers({ all: true, filters });
    await Promise.all(containers.map((one) => docker.getContainer(one.Id).remove({ force: true, v: true })));
    const networks = await docker.listNetworks({ filters: filters as never });
    await Promise.all(networks.map((one) => docker.getNetwork(one.Id).remove()));
    const images = await docker.listImages({ filters });
    await Promise.all(images.map((one) => docker.getImage(one.Id).remove({ force: true })));
    // None there is as good.
    await loadRules(`delete table inet ${policyTable(id)}\n`).catch(() => {});
  }
}
