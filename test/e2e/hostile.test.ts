// What users' code can do to a node: run, be limited, be killed alone, and be gone. The same attacks are made on each
// runtime, by a running instance and by a buildpack's compile. Both nodes are under attack at the same time.

import { mkdir, mkdtemp, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { NODE_LABEL, stackTag } from '../../node/runtime/docker/labels.ts';
import { hostStack } from '../../node/staging/stack.ts';
import { run, splitAddress, waitFor } from '../../scripts/local-cluster.ts';
import { processTable } from '../../scripts/processes.ts';
import { ATTACKS, ATTACKS_AS_ROOT, type Attack, reach } from './attacks.ts';
import { postToApp } from './requests.ts';
import { Bystanders, DISK_MIB, HOSTILE, MEMORY_MIB, sampleApp, UnderAttack } from './under-attack.ts';

/** Every process of it makes others as fast as it can, and goes on trying when it cannot. */
const FORK_BOMB = 'perl -e "while (1) { defined fork or select undef, undef, undef, 0.2 }"';
/** Processes of an instance at a time. */
const PIDS_MAX = 512;

let bystanders: Bystanders;
beforeAll(async () => {
  bystanders = await Bystanders.create();
});
afterAll(() => bystanders?.remove());

describe.concurrent.each(['process', 'docker'] as const)('on the %s runtime', (runtime) => {
  /** The command of every process that is meant to outlive its app. */
  const leftover = `peer-hostile-leftover-${runtime}`;
  let at: UnderAttack;

  beforeAll(async () => {
    at = await UnderAttack.start(runtime, bystanders);
  });
  afterAll(() => at?.cluster.stop());

  describe.sequential('a running instance cannot', () => {
    it.sequential.each(ATTACKS)('%s', async (_what, script, refusal) => {
      const { code, output } = await at.attack(script(await at.place()));
      expect(output).toMatch(refusal);
      expect(code).not.toBe(0);
    });

    it.sequential('see any process but its own', async () => {
      const { output } = await at.attack('cat /proc/[0-9]*/cmdline | tr "\\0" "\\n"');
      expect(output).toContain('server.js');
      expect(output).not.toContain('main.ts');
      expect(output).not.toContain(at.secret);
      const pids = (await at.attack('ls -d /proc/[0-9]* | wc -l')).output;
      expect(Number(pids)).toBeLessThan(10);
    });

    it.sequential('hold any privilege', async () => {
      const { output } = await at.attack('cat /proc/self/status');
      expect(output).toMatch(/^NoNewPrivs:\t1$/m);
      expect(output).toMatch(/^Seccomp:\t2$/m);
      for (const set of ['Inh', 'Prm', 'Eff', 'Bnd', 'Amb']) {
        expect(output).toMatch(new RegExp(`^Cap${set}:\\t0+$`, 'm'));
      }
      expect(output).toMatch(/^Uid:\t[1-9]\d+\t/m);
    });

    it.sequential('have the user or the group of another, or of the daemon', async () => {
      const own = idsOf((await at.attack('cat /proc/self/status')).output);
      for (const pid of [await at.neighbourPid(), at.node.pid]) {
        const others = idsOf(await readFile(`/proc/${pid}/status`, 'utf8'));
        expect(own.filter((id) => others.includes(id))).toEqual([]);
      }
    });

    it.sequential('learn from its first process what it was not told itself', async () => {
      const { output } = await at.attack(
        'list() { tr "\\0" "\\n" </proc/$1/environ | cut -d= -f1 | sort; }; comm -23 <(list 1) <(list $PPID) 2>/dev/null',
      );
      expect(output.replace(/^.*Permission denied\n/, '')).toBe('');
    });

    it.sequential('end its first process', async () => {
      const before = await at.instanceOf('hostile');
      await at.attack('kill -9 1');
      expect((await at.cluster.get(at.node, HOSTILE)).body).toBe(`hostile ${before.id}\n`);
      expect(await at.instanceOf('hostile')).toMatchObject({ id: before.id, state: 'ready' });
    });
  });

  // Without them the attacks on the network would show nothing.
  describe.sequential('a running instance does', () => {
    it.sequential("reach the internet, and the node's router", async () => {
      const { internet, router } = await at.place();
      for (const address of [internet, ...router]) {
        expect([address, await at.attack(reach([address]))]).toEqual([address, { code: 0, output: '' }]);
      }
    });

    it.sequential('listen where the node reaches it, and nobody next door does', async () => {
      const [host, port] = (await at.place()).neighbour.address.split('/') as [string, string];
      expect(await run(['bash', '-c', reach([`${host}/${port}`])])).toMatchObject({ code: 0 });
      expect(await bystanders.nextDoor.reaches(host, Number(port))).toBe(false);
      expect(await bystanders.nextDoor.reaches(bystanders.nextDoor.machine, splitAddress(at.node.http)[1])).toBe(true);
    });
  });

  describe.sequential('beyond its limits', () => {
    afterEach(() => at.isWell());

    it.sequential('a fork bomb finds no more processes, and harms nobody else', async () => {
      const uid = (await at.attack('id -u')).output.trim();
      await at.attackMeanwhile(FORK_BOMB);
      await waitFor(
        'the bomb to be stopped by its limit',
        30_000,
        async () => (await processesOf(uid)) > PIDS_MAX * 0.8,
      );
      for (let look = 0; look < 5; look++) {
        expect(await at.neighbourAnswers()).toBe(true);
        expect(await processesOf(uid)).toBeLessThanOrEqual(PIDS_MAX);
      }
      const before = await at.instanceOf('hostile');
      await at.cluster.json(at.node, ['restart', 'hostile/0'], { timeoutMs: 40_000 });
      await at.hostileIsBack(before);
      expect(await processesOf(uid)).toBe(0);
    });

    it.sequential('a signal to everybody reaches only its own', async () => {
      const before = await at.instanceOf('hostile');
      await at.attackMeanwhile('kill -9 -1');
      await at.hostileIsBack(before);
    });

    it.sequential('memory ends the one that takes it, which is told why and started again', async () => {
      const before = await at.instanceOf('hostile');
      await postToApp(at.node, HOSTILE, '/memory');
      await waitFor('the end of the instance to be told', 20_000, async () => {
        const events = await at.cluster.json<{ message: string }[]>(at.node, ['events', 'hostile']);
        return events.some(({ message }) => message.includes(`out of memory (limit ${MEMORY_MIB} MiB)`));
      });
      await at.hostileIsBack(before);
      const { stdout } = await at.cluster.peer(at.node, ['logs', 'hostile']);
      expect(stdout).toContain(`[CELL/web/0] ERR Instance web.0 ended: out of memory (limit ${MEMORY_MIB} MiB)`);
    });

    it.sequential('one file cannot be larger than the disk', async () => {
      const { output } = await at.attack(`dd if=/dev/zero of=big bs=1M count=${2 * DISK_MIB}; stat -c %s big; rm big`);
      const size = Number(output.trim().split('\n').at(-1));
      expect(size / 1024 / 1024).toBeGreaterThan(DISK_MIB * 0.9);
      expect(size / 1024 / 1024).toBeLessThanOrEqual(DISK_MIB);
    });

    it.sequential('many files fill its own disk, and nobody else notices', async () => {
      const fill = `for i in 1 2 3; do dd if=/dev/zero of=filler-$i bs=1M count=${DISK_MIB / 2}; done; rm filler-*`;
      expect((await at.attack(fill)).output).toContain('No space left on device');
      expect((await at.attack('echo fits again >small && cat small')).output).toBe('fits again\n');
    });

    it.sequential('files without content are counted too', async () => {
      const { code, output } = await at.attack(
        'mkdir many && cd many && seq 20000 | xargs touch; cd .. && rm -rf many; df -i . | tail -1',
      );
      expect(output).toContain('No space left on device');
      expect(code).toBe(0);
    });

    it.sequential('memory file systems count as memory', async () => {
      const { output } = await at.attack(
        'for i in 1 2 3; do dd if=/dev/zero of=/tmp/filler-$i bs=1M count=50; done; rm -f /tmp/filler-*',
      );
      expect(output).toMatch(/No space left on device|Killed/);
      await waitFor('it to answer', 20_000, async () => (await at.cluster.get(at.node, HOSTILE)).status === 200);
    });
  });

  describe.sequential('what an instance leaves behind', () => {
    afterEach(() => at.isWell());

    it.sequential('leads the node nowhere when it is links that lead out', async () => {
      const { folder, isUntouched } = await keep();
      const before = await at.instanceOf('hostile');
      const replace = 'for name in $(ls -A); do rm -rf $name; ln -sfn FOLDER $name; done; find . -type l';
      const { output } = await at.attack(`cd ~/.. && ${replace.replace('FOLDER', folder)}`);
      expect(output.trim().split('\n')).toContain('./app');
      // Whoever enters looks for the app's folder; whoever cleans up, for all of them.
      await at.cluster.peer(at.node, ['exec', 'hostile/0', '--', 'true']);
      await at.attackMeanwhile('kill -9 -1');
      await at.hostileIsBack(before);
      await waitFor('its folder to be gone', 10_000, async () => {
        return !(await readdir(join(at.node.dataDir, 'instances'))).includes(before.id);
      });
      await isUntouched();
    });

    it.sequential('is gone with its app: every process, however it clings to life, and every file', async () => {
      await at.cluster.json(at.node, ['push', sampleApp('hostile'), '--name', 'stubborn', '--env', 'IGNORE_TERM=1']);
      await at.attackMeanwhile(leaveBehind(leftover), 'stubborn.localhost');
      await at.attackMeanwhile(`(setsid ${leaveBehind(leftover)} &) &`, 'stubborn.localhost');
      await waitFor('both to have been left behind', 5_000, async () => (await named(leftover)).length === 2);
      const { id } = await at.cluster.read<{ id: string }>(at.node, '/v1/apps/stubborn');
      const instance = (await at.instanceOf('stubborn')).id;
      expect(await tracesOf([id, instance])).toEqual(expect.arrayContaining(['instances', 'logs', 'staging-cache']));

      await at.cluster.json(at.node, ['delete', 'stubborn']);
      await waitFor('every process and file of it to be gone', 15_000, async () => {
        return (await named(leftover)).length === 0 && (await tracesOf([id, instance])).length === 0;
      });
      expect((await at.cluster.get(at.node, 'stubborn.localhost')).status).toBe(404);
    });

    /** Where the data directory, and the machine's control groups, hold something named after one of these ids. */
    async function tracesOf(ids: readonly string[]): Promise<string[]> {
      const names = ids.flatMap((id) => ['-o', '-name', id]).slice(1);
      const { stdout } = await run([
        'find',
        at.node.dataDir,
        '/sys/fs/cgroup',
        '-type',
        'd',
        '(',
        ...names,
        ')',
        '-prune',
      ]);
      const found = stdout.split('\n').filter((line) => line !== '');
      const places = found.map((path) => (path.startsWith('/sys') ? 'control group' : basename(dirname(path))));
      return [...new Set(places)].sort();
    }
  });

  describe.sequential('a compile', () => {
    it.sequential('cannot do what an instance cannot, and nothing of it stays', async () => {
      const { node, cluster } = at;
      const buildpack = join(cluster.folder, 'hostile-buildpack');
      await mkdir(join(buildpack, 'bin'), { recursive: true });
      await writeAttacks(buildpack, ATTACKS);
      await writeFile(join(buildpack, 'bin', 'compile'), compileOf(leftover), { mode: 0o755 });

      const pushed = await cluster.peer(node, [
        'push',
        sampleApp('hello-static'),
        '--name',
        'built',
        '--buildpack',
        buildpack,
      ]);
      expect(pushed).toMatchObject({ code: 1, stdout: '' });
      expect(pushed.stderr).toMatch(/compile failed \(exit status 1\)/);
      expectRefusals(pushed.stderr, ATTACKS);
      expect(pushed.stderr).toContain('left 1 behind');
      expect(await named(leftover)).toEqual([]);
      expect(await readdir(join(node.dataDir, 'staging'))).toEqual([]);
      await expect(cluster.read(node, '/v1/apps/built')).rejects.toThrow('404');
      await at.isWell();
    });

    it.sequential('leaves links that lead nobody out: neither who packs, nor who caches, nor who runs', async () => {
      const { folder, isUntouched } = await keep();
      const buildpack = join(at.cluster.folder, 'linking-buildpack');
      await mkdir(join(buildpack, 'bin'), { recursive: true });
      const compile = `#!/bin/bash
set -e
for place in "$1/.profile.d" "$1/public" "$2/kept"; do rm -rf "$place"; ln -s ${folder} "$place"; done
ln -s ${folder}/file "$1/stolen"
`;
      await writeFile(join(buildpack, 'bin', 'compile'), compile, { mode: 0o755 });
      const push = ['push', sampleApp('hello-static'), '--name', 'linked', '--buildpack', buildpack];
      // The second finds what the first has put into the cache.
      for (let pushes = 0; pushes < 2; pushes++) {
        await at.cluster.json(at.node, [...push, '--command', 'exec python3 -m http.server $PORT']);
      }
      for (const [path, status] of [
        ['/stolen', 404],
        ['/public/file', 404],
        ['/style.css', 200],
      ] as const) {
        expect([path, (await at.cluster.get(at.node, 'linked.localhost', path)).status]).toEqual([path, status]);
      }
      await at.cluster.json(at.node, ['delete', 'linked']);
      await isUntouched();
      await at.isWell();
    });
  });

  if (runtime === 'docker') {
    it.sequential('a Dockerfile cannot do it as root either', async () => {
      const folder = join(at.cluster.folder, 'hostile-dockerfile');
      await writeAttacks(folder, ATTACKS_AS_ROOT);
      // Labelled, so that what the engine keeps of it goes with the cluster.
      const label = `LABEL ${NODE_LABEL}=${at.node.id}`;
      const Dockerfile = `FROM ${stackTag(hostStack())}\n${label}\nCOPY . /attacks\nWORKDIR /attacks\nRUN bash tell && exit 1\n`;
      await writeFile(join(folder, 'tell'), TELL);
      await writeFile(join(folder, 'Dockerfile'), Dockerfile);
      const pushed = await at.cluster.peer(at.node, ['push', folder, '--name', 'image']);
      expect(pushed).toMatchObject({ code: 1, stdout: '' });
      expect(pushed.stderr).toContain('the Dockerfile failed');
      expectRefusals(pushed.stderr, ATTACKS_AS_ROOT);
      await expect(at.cluster.read(at.node, '/v1/apps/image')).rejects.toThrow('404');
      await at.isWell();
    });
  }

  /** Each as a script, named after its place. */
  async function writeAttacks(folder: string, attacks: readonly Attack[]): Promise<void> {
    await mkdir(folder, { recursive: true });
    const place = await at.place();
    for (const [index, [, script]] of attacks.entries()) await writeFile(join(folder, `${index}.sh`), script(place));
  }

  /** A folder of the machine's, with a file that only root reads. */
  async function keep(): Promise<{ folder: string; isUntouched(): Promise<void> }> {
    const folder = await mkdtemp(join(at.cluster.folder, 'kept-'));
    await writeFile(join(folder, 'file'), 'kept', { mode: 0o600 });
    const isUntouched = async (): Promise<void> => {
      expect(await readdir(folder)).toEqual(['file']);
      expect(await readFile(join(folder, 'file'), 'utf8')).toBe('kept');
      for (const [path, mode] of [
        [folder, 0o40700],
        [join(folder, 'file'), 0o100600],
      ] as const) {
        expect(await stat(path)).toMatchObject({ uid: process.getuid!(), mode });
      }
    };
    return { folder, isUntouched };
  }
});

/** Every user and group that a process has, as `uid 7`, `gid 7`. */
const idsOf = (status: string): string[] =>
  ['Uid', 'Gid', 'Groups'].flatMap((name) => {
    const ids = new RegExp(`^${name}:\\s(.*)$`, 'm').exec(status)![1]!.trim().split(/\s+/).filter(Boolean);
    return ids.map((id) => `${name === 'Uid' ? 'uid' : 'gid'} ${id}`);
  });

async function processesOf(uid: string): Promise<number> {
  const owners = (await processTable()).map(
    async ({ pid }) => (await stat(`/proc/${pid}`).catch(() => undefined))?.uid,
  );
  return (await Promise.all(owners)).filter((owner) => String(owner) === uid).length;
}

/** A script that becomes a process which ignores every polite signal. */
const leaveBehind = (name: string): string => `setsid bash -c 'trap "" TERM INT HUP; exec -a ${name} sleep 1000000'`;

const named = async (name: string): Promise<number[]> =>
  (await processTable()).filter((one) => one.command.startsWith(name)).map((one) => one.pid);

/** Makes the attacks of a folder, and tells of each how it ended and what it said, in one line. */
const TELL = `
for script in *.sh; do
  said=$(bash $script 2>&1 </dev/null)
  echo "attack \${script%.sh}: $? $(echo "$said" | tr '\\n' ' ')"
done
`;

function expectRefusals(told: string, attacks: readonly Attack[]): void {
  for (const [index, [what, , refusal]] of attacks.entries()) {
    const [, code, output] = new RegExp(`^ *attack ${index}: (\\d+)(.*)$`, 'm').exec(told) ?? [];
    expect(`${what}: ${output}`).toMatch(refusal);
    expect(Number(code)).toBeGreaterThan(0);
  }
}

const compileOf = (leftover: string): string => `#!/bin/bash
${TELL}
${leaveBehind(leftover)} &
until grep -qs '^[${leftover[0]}]${leftover.slice(1)}' /proc/[0-9]*/cmdline; do :; done
echo "left 1 behind"
exit 1
`;
