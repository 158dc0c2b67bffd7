// The docker runtime on Podman: what is most of the contract's promises in few tests, and an image. The whole contract
// runs there too, with DOCKER_HOST naming the socket of a Podman service.

import { randomUUID } from 'node:crypto';
import { text } from 'node:stream/consumers';
import Docker from 'dockerode';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { asAppId, asInstanceId } from '../../crdt/ids.ts';
import { stackTag } from '../../node/runtime/docker/labels.ts';
import { hostStack } from '../../node/staging/stack.ts';
import { describeCommands } from './commands.contract.ts';
import { dockerHarness } from './docker-harness.ts';
import { folderOf } from './folder-tar.ts';
import { type PodmanService, removeImage, startPodman } from './podman-service.ts';
import { describeRuntime, Opened, specOf } from './runtime.contract.ts';

const WAIT = { timeout: 10_000 };

let podman: PodmanService;
beforeAll(async () => {
  podman = await startPodman();
}, 30_000);
afterAll(() => podman?.stop());

const onPodman = () => dockerHarness({ engine: podman.engine });

describeRuntime('docker runtime on Podman', onPodman, {
  only: [
    'keeps what an instance writes, also a last line without an end',
    'adopts what an earlier daemon left running, with its logs and its end',
    'learns the end and the last words of an instance that ended while no daemon ran',
    'asks an instance to end and keeps what it says meanwhile',
    'ends only the instance that runs out of memory',
    'keeps an instance within its disk limit: it cannot write more, or is ended',
    'has its kernel limits in force: memory, processes, and of processors a share and a bound',
  ],
});

describeCommands('docker runtime on Podman', onPodman, {
  only: [
    "sees the instance's files, environment, processes and port",
    'keeps its output and its errors apart, and ends with its status',
    'takes along all that it started when it is ended',
    'has a terminal of the size that is asked for, and learns of another',
    'reads what it is sent, and has a terminal if that is asked for',
  ],
});

describe('an image on Podman', () => {
  it('is built, runs, and takes commands and tasks', async () => {
    const harness = await onPodman();
    const { runtime, ...opened } = await harness.open();
    const node = new Opened({ runtime, ...opened });
    const Dockerfile = `FROM ${stackTag(hostStack())}\nRUN echo made >/made && mkdir -m 777 /own\nCMD ["sleep", "1000"]`;
    const staged = await runtime.images!.build({
      app: asAppId(randomUUID()),
      source: folderOf({ Dockerfile }),
      onLine: () => {},
      signal: new AbortController().signal,
    });
    try {
      const image = { ...staged.image!, ownCommand: true };
      const { digest, sizeBytes, stack } = staged;
      const spec = {
        ...specOf(digest),
        ...{ droplet: { digest, sizeBytes, stack }, image, command: '', diskBytes: 16 * 1024 * 1024 },
        health: { kind: 'process' as const, path: '/', timeoutMs: 5_000 },
      };
      runtime.start(spec);
      await node.ready(spec.id);
      const argv = ['sh', '-c', 'cat /made; head -c 40000000 /dev/zero >/own/big; exit 4'];
      const inside = await runtime.exec(spec.id, { argv });
      const task = await runtime.runTask({ ...spec, name: 'look', id: asInstanceId(`task-${randomUUID()}`) }, { argv });
      for (const command of [inside, task]) {
        const [out, err] = await Promise.all([text(command.stdout), text(command.stderr)]);
        expect([out, (await command.exited).code]).toEqual(['made\n', 4]);
        expect(err).toMatch(/No space left on device/);
      }
      // As on a busy machine: it has ended before the engine is asked about it for the first time.
      const { inspect } = Docker.Exec.prototype;
      const late = vi.spyOn(Docker.Exec.prototype, 'inspect').mockImplementation(function (this: Docker.Exec) {
        return vi.waitUntil(async () => {
          const looked: Docker.ExecInspectInfo = await inspect.call(this);
          return looked.Running || looked.ExitCode === null ? undefined : looked;
        }, WAIT);
      });
      const short = await runtime.exec(spec.id, { argv: ['sh', '-c', 'echo short; exit 3'] });
      expect([await text(short.stdout), (await short.exited).code]).toEqual(['short\n', 3]);
      late.mockRestore();
    } finally {
      await runtime.close({ keepInstances: false });
      await harness.checkNothingLeft();
      removeImage(staged.image!.id);
      await harness.dispose();
    }
  });
});
