// A wish to change a service as the changes that do it. Writes nothing.

import type { NamedChange } from '../../crdt/change.ts';
import { asAppId } from '../../crdt/ids.ts';
import type { ServiceView } from '../../crdt/view.ts';
import type { NodeService } from '../ports/node-service.ts';
import type { ConfigureServiceBody } from './data-validate.ts';
import { ApiError } from './errors.ts';
import { expectEnough, expectLog, kindNamed, planNamed } from './new-service.ts';
import { pinFor } from './pinning.ts';

/**
 * `restarts`: it is started anew, as what it runs with changes. Its data stays where it is, so what it is to have more
 * of must be there; storage never shrinks.
 */
export function reconfigured(
  service: NodeService,
  asked: ServiceView,
  wish: ConfigureServiceBody,
): { changes: NamedChange[]; restarts: boolean } {
  const { volume } = asked;
  if (volume === undefined) {
    throw new ApiError('service_provided', `${asked.name} was provided: peer service provide ${asked.name} changes it`);
  }
  const kind = kindNamed(service.kinds(), asked.kind);
  const plan = wish.plan === undefined ? undefined : planNamed(kind, wish.plan);
  const memoryBytes = wish.memoryBytes ?? plan?.limits.memoryBytes ?? asked.memoryBytes;
  const storageBytes =
    wish.storageBytes ?? Math.max(plan?.limits.storageBytes ?? asked.storageBytes, asked.storageBytes);
  if (storageBytes < asked.storageBytes) {
    throw new ApiError(
      'bad_request',
      `storageBytes: storage only grows, and ${asked.name} has ${asked.storageBytes} bytes`,
    );
  }
  if (wish.memoryBytes !== undefined) expectEnough(kind, { memoryBytes, storageBytes: kind.least.storageBytes });
  if (wish.wal === true) expectLog(kindNamed(service.kinds(), asked.kind));
  const isLogChanged = wish.wal !== undefined && wish.wal !== (asked.wal === true);
  const restarts =
    isLogChanged || memoryBytes !== asked.memoryBytes || (plan !== undefined && plan.plan !== asked.plan);
  if (memoryBytes > asked.memoryBytes) {
    const owner = asAppId(asked.id);
    pinFor(
      {
        view: service.view(),
        observed: service.observed(),
        pending: [],
        replaced: [{ app: owner, process: volume.process, index: volume.index }],
      },
      { owner, key: asked.id, memoryBytes, needs: { service: asked } },
      `more memory for ${asked.name}, whose data is on one`,
      volume.node,
    );
  }
  const settings = {
    ...(plan === undefined ? {} : { plan: plan.plan }),
    ...(memoryBytes === asked.memoryBytes ? {} : { memoryBytes }),
    ...(storageBytes === asked.storageBytes ? {} : { storageBytes }),
    ...(wish.backupEveryMs === undefined ? {} : { backupEveryMs: wish.backupEveryMs }),
    ...(wish.backupsKept === undefined ? {} : { backupsKept: wish.backupsKept }),
    ...(wish.wal === undefined ? {} : { wal: wish.wal }),
  };
  if (Object.keys(settings).length === 0)
    throw new ApiError('bad_request', 'nothing to change: give a plan, memory, storage, backups or a log');
  const changes: NamedChange[] = [{ change: 'configureService', service: asked.id, ...settings }];
  return { changes, restarts };
}
