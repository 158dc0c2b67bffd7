// Services in the process runtime: launched by what their kind says, without a droplet, and stopped in their own way.

import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asAppId, asReleaseId, asServiceId, type Digest } from '../../crdt/ids.ts';
import type { ServiceView } from '../../crdt/view.ts';
import type { InstanceSpec, VolumeMount } from '../../node/core/types.ts';
import type { LaunchedService, ServicePrograms } from '../../node/ports/services.ts';
import { type ProcessHarness, processesNaming, processHarness } from './harness.ts';
import { Opened, specOf } from './runtime.contract.ts';
import { aMount } from './volumes.contract.ts';

const WAIT = { timeout: 60_000, interval: 20 };
const SECRET = 'aVerySecretWord';
const NODE = '/opt/peer/node/bin/node';

/** Ends in order on INT within a second and a half, and at once, with a complaint, on anything else. */
const SERVER = `
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const child = spawn(process.execPath, ['-e', "for (const s of ['SIGINT', 'SIGTERM']) process.on(s, () => console.log('the child got ' + s)); process.on('disconnect', () => process.exit()); process.send('up')"], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
process.on('SIGTERM', () => { console.log('cut off'); process.exit(1); });
process.on('SIGINT', () => {
  console.log('closing');
  setTimeout(() => { fs.appendFileSync('/data/journal', 'closed\\n'); console.log('closed in order'); process.exit(0); }, 1500);
});
fs.appendFileSync('/data/journal', 'opened\\n');
child.on('message', () => fs.writeFileSync('/data/up', ''));
`;

const PROGRAM: LaunchedService = {
  // A shell first, as when data is made: it becomes the server.
  command: `rm -f /data/up; [ "$WORD" = ${SECRET} ] && exec ${NODE} /data/conf/server.js`,
  env: { WORD: SECRET, HOME: '/data' },
  files: { '/data/conf/server.js': SERVER, '/data/password': SECRET },
  stopSignal: 'SIGINT',
  stopGraceMs: 20_000,
  probe: {
    argv: ['bash', '-c', 'read -r word; [ "$ASKED$word" = yesplease ] && ls /data/up'],
    env: { ASKED: 'yes' },
    stdin: 'please\n',
  },
  port: 7000,
};

describe('a service in the process runtime', () => {
  let harness: ProcessHarness;
  let opened: Awaited<ReturnType<ProcessHarness['open']>>;
  let node: Opened;
  let program: LaunchedService;
  let volume: VolumeMount;

  const services: ServicePrograms = {
    programOf: async () => program,
    probeOf: async () => program.probe,
  };
  async function open(): Promise<void> {
    opened = await harness.open();
    node = new Opened(opened);
  }
  function start(changes: Partial<InstanceSpec> = {}): InstanceSpec {
    const id = randomUUID();
    const spec = specOf(`sha256:${'0'.repeat(64)}` as Digest, {
      app: { id: asAppId(id), name: 'orders' },
      process: 'service',
      release: { id: asReleaseId(randomUUID()), version: 1 },
      command: '',
      health: { kind: 'process', path: '/', timeoutMs: 60_000 },
      volumes: [volume],
      service: { id: asServiceId(id), name: 'orders' } as ServiceView,
      ...changes,
    });
    opened.runtime.start(spec);
    return spec;
  }
  async function run(spec: InstanceSpec, command: string): Promise<string> {
    const attended = await opened.runtime.exec(spec.id, { argv: ['bash', '-c', command] });
    attended.stdin.end();
    const [out] = await Promise.all([text(attended.stdout), text(attended.stderr)]);
    return out;
  }
  const dataOf = (path: string): string => join(opened.volumes.placeOf(volume).data, path);

  beforeEach(async () => {
    program = PROGRAM;
    volume = aMount('/data');
    // Shorter than the server takes to end: its own grace counts.
    harness = await processHarness({ runtime: { services, stopGraceMs: 100 } });
    await open();
  });
  afterEach(async () => {
    await opened.runtime.close({ keepInstances: false });
    await harness.checkNothingLeft();
    await harness.dispose();
  });

  it('runs without a droplet, with the files and the environment of its kind, and is ready when its probe succeeds', async () => {
    const spec = start();
    expect(await node.ready(spec.id)).toMatchObject({ port: 7000 });
    for (const path of ['conf/server.js', 'password']) {
      const found = await stat(dataOf(path));
      expect([found.mode & 0o777, String(found.uid)]).toEqual([0o600, (await run(spec, 'id -u')).trim()]);
    }
    expect(await readFile(dataOf('password'), 'utf8')).toBe(SECRET);
    const environment = (await run(spec, 'env')).trim().split('\n');
    // Besides what bash adds by itself.
    const given = environment.map((line) => line.split('=')[0]!).filter((name) => !/^(PWD|OLDPWD|SHLVL|_)$/.test(name));
    expect(given.sort()).toEqual(['HOME', 'LANG', 'PATH', 'USER', 'WORD']);
    expect(environment).toContain('HOME=/data');
    expect(await processesNaming(SECRET)).toEqual([]);
    expect(await run(spec, 'ls -A /home/vcap /home/vcap/app')).toBe('/home/vcap:\napp\nlogs\ntmp\n\n/home/vcap/app:\n');
    const record = await readFile(join(harness.dataDir, 'instances', spec.id, 'instance.json'), 'utf8');
    expect(record).not.toMatch(new RegExp(`${SECRET}|please`));
  });

  it('is stopped by its own signal, sent to the server alone, and has its own time for it', async () => {
    const spec = start();
    await node.ready(spec.id);
    opened.runtime.stop(spec.id, 'stopped by a person');
    expect(await node.exitReason(spec.id)).toBe('stopped by a person');
    expect(await node.lines(spec)).toEqual(['closing', 'closed in order']);
    expect(await readFile(dataOf('journal'), 'utf8')).toBe('opened\nclosed\n');
  });

  it('that is stopped while it is still a shell is told again when it has become the server', async () => {
    program = {
      ...PROGRAM,
      command: `trap '' INT; touch /data/begun; sleep 3; trap - INT; exec ${NODE} /data/conf/server.js`,
    };
    const spec = start();
    await expect
      .poll(
        () =>
          stat(dataOf('begun')).then(
            () => true,
            () => false,
          ),
        WAIT,
      )
      .toBe(true);
    opened.runtime.stop(spec.id, 'stopped by a person');
    await node.exitReason(spec.id);
    // Had it come to run without being told, it would have been killed.
    const journal = await readFile(dataOf('journal'), 'utf8').catch(() => '');
    expect(['', 'opened\nclosed\n']).toContain(journal);
    expect(await node.lines(spec)).not.toContain('cut off');
  });

  it('is adopted with its probe, its signal and its time', async () => {
    const spec = start();
    await node.ready(spec.id);
    await opened.runtime.close({ keepInstances: true });
    await open();
    expect(await opened.runtime.adopt()).toMatchObject([{ id: spec.id, port: 7000 }]);
    await expect.poll(() => node.of(spec.id), WAIT).toEqual([{ type: 'instanceReady', id: spec.id }]);
    opened.runtime.stop(spec.id, 'stopped by a person');
    await node.exitReason(spec.id);
    expect(await readFile(dataOf('journal'), 'utf8')).toBe('opened\nclosed\n');
  });

  it('is unhealthy after three probes that failed, and ready again after one that did not', async () => {
    const spec = start();
    await node.ready(spec.id);
    await rename(dataOf('up'), dataOf('down'));
    await expect
      .poll(() => node.of(spec.id).at(-1), WAIT)
      .toMatchObject({
        type: 'instanceUnhealthy',
        reason: expect.stringContaining('/data/up'),
      });
    await rename(dataOf('down'), dataOf('up'));
    await expect.poll(() => node.of(spec.id).at(-1), WAIT).toEqual({ type: 'instanceReady', id: spec.id });
  });

  it('that never answers is ended after its time, with what its probe and it itself said last', async () => {
    program = { ...PROGRAM, command: 'echo waiting for nothing; exec sleep 1000', stopSignal: 'SIGTERM' };
    const spec = start({ health: { kind: 'process', path: '/', timeoutMs: 3_000 } });
    expect(await node.exitReason(spec.id, WAIT)).toMatch(
      /^did not answer within 3 s \(.*\/data\/up.*\); last lines: waiting for nothing$/,
    );
  });

  it('that cannot be launched says why', async () => {
    program = { ...PROGRAM, files: { '/elsewhere/file': '' } };
    expect(await node.exitReason(start().id)).toBe('/elsewhere/file is in no volume of the service');
    services.programOf = async () => {
      throw new Error('this machine has no postgres 19: install postgresql-19');
    };
    expect(await node.exitReason(start().id)).toBe('this machine has no postgres 19: install postgresql-19');
    services.programOf = async () => program;
  });

  it('cannot lead what is written for it elsewhere by what it has put into its volume', async () => {
    const first = start();
    await node.ready(first.id);
    opened.runtime.stop(first.id, 'enough');
    await node.exitReason(first.id);
    const outside = join(harness.dataDir, 'outside');
    await mkdir(outside);
    await writeFile(join(outside, 'victim'), 'as it was');

    await rm(dataOf('password'));
    await symlink(join(outside, 'victim'), dataOf('password'));
    const second = start();
    await node.ready(second.id);
    expect(await readFile(join(outside, 'victim'), 'utf8')).toBe('as it was');
    expect((await stat(dataOf('password'))).mode & 0o777).toBe(0o600);
    opened.runtime.stop(second.id, 'enough');
    await node.exitReason(second.id);

    await rename(dataOf('conf'), dataOf('moved'));
    await symlink(outside, dataOf('conf'));
    expect(await node.exitReason(start().id)).toMatch(/^orders: conf on the way to conf\/server\.js is a link/);
    expect(await stat(join(outside, 'server.js')).catch(() => 'none')).toBe('none');
  });
});
