// Builds the default stack image, on which the docker runtime runs droplets, from Debian's packages alone, and loads
// it into the engine of this machine. Does nothing when the engine has it. Talks to no registry of images.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findEngine } from '../node/runtime/docker/engine.ts';
import { STACK_LABEL, STACK_RECIPE_LABEL, stackTag } from '../node/runtime/docker/labels.ts';
import { hostStack } from '../node/staging/stack.ts';

/** What droplets may rely on beyond a minimal system; buildpacks bring everything else. */
const PACKAGES = [
  'ca-certificates',
  'curl',
  'libffi8',
  'libgmp10',
  'libreadline8',
  'libsqlite3-0',
  'libssl3',
  'libstdc++6',
  'libxml2',
  'libyaml-0-2',
  'media-types',
  'netbase',
  'openssl',
  'perl',
  'procps',
  'python3',
  'tzdata',
  'unzip',
  'xz-utils',
  'zlib1g',
];
const BUILD = join(import.meta.dirname, 'stack', 'build.sh');
const BUILD_LINES_SHOWN = 10;
/** Of Debian's names for what Node calls x64 and arm64. */
const ARCHITECTURES: Record<string, string> = { x64: 'amd64', arm64: 'arm64' };

const say = (text: string): void => void process.stderr.write(`stack: ${text}\n`);

async function main(): Promise<void> {
  const stack = hostStack();
  const tag = stackTag(stack);
  const { docker } = await findEngine();
  const recipe = digestOf(JSON.stringify([stack, PACKAGES, await readFile(BUILD, 'utf8')]));
  const held = await docker
    .getImage(tag)
    .inspect()
    .catch(() => undefined);
  if (held !== undefined && held.Config.Labels?.[STACK_RECIPE_LABEL] === recipe) {
    process.stdout.write(`${tag} ${held.Id}\n`);
    return;
  }
  if (process.getuid?.() !== 0) throw new Error('building a stack takes root: run it again as root');
  say(`building ${tag} from Debian's packages (once, about a minute)…`);
  const work = await mkdtemp(join(tmpdir(), 'peer-stack-'));
  try {
    await writeArchive(work, { stack, tag, recipe });
    const stream = await docker.loadImage(createReadStream(join(work, 'image.tar')), { quiet: true });
    await new Promise<void>((resolve, reject) => {
      docker.modem.followProgress(stream, (error) => (error === null ? resolve() : reject(error)));
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  process.stdout.write(`${tag} ${(await docker.getImage(tag).inspect()).Id}\n`);
}

/** Writes image.tar, in the form of `docker save`: made here, so that the same bits get the same image id. */
async function writeArchive(work: string, image: { stack: string; tag: string; recipe: string }): Promise<void> {
  const architecture = ARCHITECTURES[process.arch] ?? process.arch;
  const { suite, mirror } = await packageSource();
  await run('/bin/sh', [BUILD, work, suite, mirror, PACKAGES.join(','), architecture]);
  const config = JSON.stringify({
    architecture,
    os: 'linux',
    created: new Date(0).toISOString(),
    config: {
      Env: ['PATH=/usr/local/bin:/usr/bin:/bin', 'LANG=C.UTF-8'],
      Cmd: ['/bin/bash'],
      Labels: { [STACK_LABEL]: image.stack, [STACK_RECIPE_LABEL]: image.recipe },
    },
    rootfs: { type: 'layers', diff_ids: [`sha256:${await digestOfFile(join(work, 'layer.tar'))}`] },
    history: [{ created: new Date(0).toISOString(), created_by: 'npm run stack' }],
  });
  const configName = `${digestOf(config)}.json`;
  await writeFile(join(work, configName), config);
  const manifest = [{ Config: configName, RepoTags: [image.tag], Layers: ['layer.tar'] }];
  await writeFile(join(work, 'manifest.json'), JSON.stringify(manifest));
  await run('tar', ['-C', work, '-cf', join(work, 'image.tar'), 'manifest.json', configName, 'layer.tar']);
}

/** Where this machine has its own packages from: the stack is of the same system, and the mirror is known to work. */
async function packageSource(): Promise<{ suite: string; mirror: string }> {
  const release = await readFile('/etc/os-release', 'utf8');
  const suite = /^VERSION_CODENAME=["']?([a-z]+)/m.exec(release)?.[1];
  const listed = await run('apt-get', ['indextargets', '--format', '$(RELEASE) $(SITE)', 'Created-By: Packages']).catch(
    () => '',
  );
  const mirror = listed
    .split('\n')
    .find((line) => line.startsWith(`${suite} `))
    ?.split(' ')[1];
  if (suite === undefined || mirror === undefined) {
    throw new Error('a stack is built on Debian, or a system made from it, with a source of packages in apt');
  }
  return { suite, mirror };
}

/** Resolves with what the command wrote to stdout; its last lines are in the error. */
function run(command: string, args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const env = {
      ...process.env,
      PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
      LC_ALL: 'C',
      DEBIAN_FRONTEND: 'noninteractive',
    };
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env });
    let out = '';
    let all = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString();
      all += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      all += chunk.toString();
    });
    child.once('error', (error) =>
      reject(
        new Error(`${command} cannot be run (${error.message}): run 'npm run setup -- --tests', which installs it`),
      ),
    );
    child.once('close', (code) => {
      if (code === 0) resolve(out);
      else {
        const lines = all.trim().split('\n').slice(-BUILD_LINES_SHOWN).join('\n');
        reject(new Error(`${command} failed with status ${code}:\n${lines}`));
      }
    });
  });
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

async function digestOfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

main().catch((error: Error) => {
  say(error.message);
  process.exitCode = 1;
});
