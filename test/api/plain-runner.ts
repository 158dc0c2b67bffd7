// A CommandRunner without any sandbox: commands are processes of the test's own user, in a temporary folder's place.
// For tests of what is around it; what a runtime promises is in test/runtime/commands.contract.ts.

import type { ChildProcess } from 'node:child_process';
import type { Attended, AttendedCommand, CommandRunner, TaskSpec } from '../../node/ports/commands.ts';
import { type AttendedProcess, startAttended } from '../../node/runtime/commands/attended-command.ts';
import { loaderArguments } from '../../node/runtime/sandbox/scripts.ts';

export class PlainRunner implements CommandRunner {
  readonly started: { where: string; argv: readonly string[] }[] = [];
  readonly running = new Set<AttendedProcess>();
  /** Set to refuse the next ones. */
  refusal: Error | undefined;

  exec(id: string, command: AttendedCommand): Promise<Attended> {
    return this.#start(id, command, { WHERE: id });
  }

  runTask(task: TaskSpec, command: AttendedCommand): Promise<Attended> {
    return this.#start(task.id, command, { WHERE: task.name, ...task.env });
  }

  async #start(where: string, command: AttendedCommand, env: Record<string, string>): Promise<Attended> {
    if (this.refusal !== undefined) throw this.refusal;
    this.started.push({ where, argv: command.argv });
    const attended = await startAttended({
      confined: loaderArguments({ pidsMax: 10_000, filesMax: 1_000, fileBytesMax: 1024 ** 3 }),
      groups: [],
      cwd: '/',
      env: { PATH: process.env.PATH ?? '', ...env },
      command,
      killAll: (child) => killGroup(child),
      cleanUp: async () => undefined,
    });
    this.running.add(attended);
    void attended.exited.then(() => this.running.delete(attended));
    return attended;
  }
}

/** It was started as the leader of one. */
function killGroup(child: ChildProcess): void {
  try {
    process.kill(-child.pid!, 'SIGKILL');
  } catch {
    // None left.
  }
}
