// Images on the docker runtime: built from a Dockerfile, packed as blobs, loaded from them, run as they are, taken
// away.

import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer, type Server } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { asAppId } from '../../crdt/ids.ts';
import type { InstanceSpec } from '../../node/core/types.ts';
import type { Images } from '../../node/ports/runtime.ts';
import type { StagedDroplet } from '../../node/ports/staging.ts';
import { NODE_LABEL, stackTag } from '../../node/runtime/docker/labels.ts';
import { hostStack } from '../../node/staging/stack.ts';
import { type DockerHarness, dockerHarness } from './docker-harness.ts';
import { folderOf } from './folder-tar.ts';
import { type Address, get, Opened, specOf } from './runtime.contract.ts';

const WAIT = { timeout: 20_000, interval: 50 };
const STACK = stackTag(hostStack());
const SERVER = `
import http.server, os, subprocess, urllib.parse
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        command = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query).get('c', ['echo $GREETING'])[0]
        out = subprocess.run(['sh', '-c', command], capture_output=True, text=True)
        self.send_response(200); self.end_headers(); self.wfile.write((out.stdout + out.stderr).encode())
http.server.ThreadingHTTPServer(('', int(os.environ['PORT'])), Handler).serve_forever()
`;
/** Another one in every run: an engine keeps the layers of an earlier one, and does not run again what made them. */
const MADE = `made in a build ${randomUUID()}`;
const DOCKERFILE = `
FROM ${STACK}
ENV GREETING=hello
RUN echo ${MADE} && mkdir -m 1777 /own
WORKDIR /srv
COPY server.py .
EXPOSE 9000
VOLUME /data
CMD ["python3", "server.py"]
`;

let harness: DockerHarness;
let node: Opened;
let images: Images;
let shop: StagedDroplet;
const shopLines: string[] = [];
const built: string[] = [];

async function build(
  files: Record<string, string>,
  options: { timeoutMs?: number; lines?: string[] } = {},
): Promise<StagedDroplet> {
  const { lines = [], ...limits } = options;
  const staged = await images.build({
    app: asAppId(randomUUID()),
    source: folderOf(files),
    onLine: (text) => lines.push(text),
    signal: new AbortController().signal,
    ...limits,
  });
  built.push(staged.image!.id);
  return staged;
}

const specOfImage = (staged: StagedDroplet, changes: Partial<InstanceSpec> = {}): InstanceSpec => ({
  ...specOf(staged.digest),
  droplet: { digest: staged.digest, sizeBytes: staged.sizeBytes, stack: staged.stack },
  image: { ...staged.image!, ownCommand: true },
  command: '',
  ...changes,
});

async function run(spec: InstanceSpec): Promise<Address> {
  node.runtime.start(spec);
  return node.ready(spec.id);
}

const shell = (at: Address, command: string): Promise<string> => get(at, `/?c=${encodeURIComponent(command)}`);
/** Ends what the tests so far have left running, and its containers. */
async function stopAll(): Promise<void> {
  const filters = JSON.stringify({ label: [`${NODE_LABEL}=${harness.nodeId}`] });
  for (const { id } of node.events) node.runtime.stop(id, 'done');
  await vi.waitFor(
    async () => expect(await harness.engine.docker.listContainers({ all: true, filters })).toEqual([]),
    WAIT,
  );
}

/** The blocks of zeros that end an archive. */
const zerosAtEnd = (tar: Buffer): number => {
  let end = tar.length;
  while (end > 0 && tar[end - 1] === 0) end--;
  return tar.length - 512 * Math.ceil(end / 512);
};

const isHeld = (id: string): Promise<boolean> =>
  harness.engine.docker
    .getImage(id)
    .inspect()
    .then(
      () => true,
      () => false,
    );

beforeAll(async () => {
  harness = await dockerHarness();
  node = new Opened(await harness.open());
  images = node.runtime.images!;
  shop = await build({ Dockerfile: DOCKERFILE, 'server.py': SERVER }, { lines: shopLines });
});
afterAll(async () => {
  await node.runtime.close({ keepInstances: false });
  await harness.checkNothingLeft();
  for (const id of new Set(built)) {
    await harness.engine.docker
      .getImage(id)
      .remove({ force: true })
      .catch(() => {});
  }
  await harness.dispose();
});

describe('an image', () => {
  it('runs as it is: its entry point, its environment, its port, but no powers', async () => {
    const at = await run(specOfImage(shop));
    expect(at.port).toBe(9000);
    expect(await shell(at, 'echo $GREETING; pwd')).toBe('hello\n/srv\n');
    expect(await shell(at, 'id -u')).not.toBe('0\n');
    expect(await shell(at, 'grep -E "^(CapEff|CapBnd|NoNewPrivs)" /proc/self/status')).toBe(
      'CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\n',
    );
    expect(await shell(at, 'touch /srv/x')).toMatch(/Permission denied/);
    expect(await shell(at, 'echo kept >/data/x && cat /data/x && stat -f -c %T /data')).toBe('kept\ntmpfs\n');
  });

  it('runs another command when it is told to', async () => {
    const spec = specOfImage(shop, {
      image: { ...shop.image!, ownCommand: false },
      command: 'echo "$GREETING from $(pwd)"; sleep 0.05; exit 3',
      health: { kind: 'process', path: '/', timeoutMs: 1_000 },
    });
    node.runtime.start(spec);
    expect(await node.exitReason(spec.id)).toBe('exited with status 3');
    expect(await node.lines(spec)).toEqual(['hello from /srv']);
  });

  it('of the engine is packed the same however it is called', async () => {
    const image = harness.engine.docker.getImage(shop.image!.id);
    const repo = `test-${harness.nodeId}`;
    await image.tag({ repo, tag: '1' });
    try {
      const { signal } = new AbortController();
      const packed = await images.pack({ ref: `${repo}:1`, signal });
      expect(packed).toEqual({ ...shop, image: { id: shop.image!.id, ref: `${repo}:1` } });
      await expect(images.pack({ ref: 'no-such-image:1', signal })).rejects.toMatchObject({ code: 'image_unknown' });
    } finally {
      await harness.engine.docker.getImage(`${repo}:1`).remove({ force: true });
    }
  });

  it('is loaded from its blob where the engine does not have it, and taken away with the blob', async () => {
    await stopAll();
    const { docker } = harness.engine;
    await docker.getImage(shop.image!.id).remove();
    const spec = specOfImage(shop);
    expect(await shell(await run(spec), 'echo back')).toBe('back\n');
    await stopAll();
    await harness.blobs.remove(shop.digest);
    await vi.waitFor(async () => expect(await isHeld(shop.image!.id)).toBe(false), WAIT);
  });
});

describe('a Dockerfile', () => {
  it('is built, and what the builder says is passed on', () => {
    expect(shopLines).toContain(MADE);
    expect(shop).toMatchObject({
      imageVolumes: ['/data'],
      buildpack: 'image',
      processes: { web: 'python3 server.py' },
      image: { ref: 'Dockerfile' },
    });
  });

  it('may start from nothing', async () => {
    const files = { Dockerfile: 'FROM scratch\nCOPY file /file\nCMD ["/file"]', file: 'not a program' };
    const spec = specOfImage(await build(files));
    node.runtime.start(spec);
    expect(await node.exitReason(spec.id)).toMatch(/could not be started|exited with status/);
  });

  it.each([
    ['a step fails', `FROM ${STACK}\nRUN exit 7`, /^the Dockerfile failed: .*returned a non-zero code: 7$/],
    ['it starts from an image that is not here', 'FROM no-such-image:1', /no-such-image|pull|resolv|lookup/],
    [
      'it starts from another machine’s registry',
      'FROM registry.lan/x',
      /public registries only.*docker pull on the node/,
    ],
    ['it is none', 'NONSENSE', /unknown instruction/i],
  ])('fails with the reason when %s', async (_, Dockerfile, reason) => {
    await expect(build({ Dockerfile })).rejects.toMatchObject({
      code: 'build_failed',
      message: expect.stringMatching(reason),
    });
  });

  it('is given up when its time is over', async () => {
    const Dockerfile = `FROM ${STACK}\nRUN sleep 1000`;
    await expect(build({ Dockerfile }, { timeoutMs: 2_000 })).rejects.toMatchObject({ code: 'time_limit' });
  });

  describe('that has the engine fetch from this machine', () => {
    let asked: string[];
    let server: Server;
    let host: string;
    beforeEach(async () => {
      asked = [];
      server = createHttpServer((req, res) => {
        asked.push(req.url ?? '');
        res.end('secret');
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      host = `127.0.0.1:${(server.address() as { port: number }).port}`;
    });
    afterEach(() => new Promise((resolve) => server.close(resolve)));

    it.each([
      ['ADD', (at: string) => `FROM scratch\nADD http://${at}/x /x`],
      ['ADD in a list that only some engines read', (at: string) => `FROM scratch\nADD ["http://${at}/x", "/x"] x`],
      ['a base image', (at: string) => `FROM ${at}/x`],
      ['a copy of an image', (at: string) => `FROM scratch\nCOPY --from=${at}/x / /x`],
    ])('is refused before it does: %s', async (_, dockerfile) => {
      await expect(build({ Dockerfile: dockerfile(host) })).rejects.toMatchObject({ code: 'build_failed' });
      expect(asked).toEqual([]);
    });

    it('is refused when a base image would do it', async () => {
      const repo = `test-trigger-${harness.nodeId}`;
      const { docker } = harness.engine;
      const container = await docker.createContainer({ Image: STACK, Cmd: ['true'] });
      const committed = await container.commit({ repo, changes: `ONBUILD ADD http://${host}/x /x` } as never);
      await container.remove();
      try {
        await expect(build({ Dockerfile: `FROM ${repo}\nRUN true` })).rejects.toMatchObject({
          code: 'build_failed',
          message: expect.stringMatching(/has a trigger for builds .* is refused: .*the engine would fetch it/),
        });
        expect(asked).toEqual([]);
      } finally {
        await docker.getImage((committed as unknown as { Id: string }).Id).remove({ force: true });
      }
    });

    it('is refused when an archive holds another Dockerfile behind its end, or two', async () => {
      const fetching = `FROM scratch\nADD http://${host}/x /x\n`;
      const harmless = 'FROM scratch\nCOPY file /file\nCMD ["/file"]\n';
      const packed = async (files: Record<string, string>): Promise<Buffer> => {
        const chunks: Uint8Array[] = [];
        for await (const chunk of folderOf(files)) chunks.push(chunk);
        return Buffer.concat(chunks);
      };
      const first = await packed({ Dockerfile: harmless, file: 'x' });
      const second = await packed({ Dockerfile: fetching });
      const twice = Buffer.concat([first.subarray(0, first.length - zerosAtEnd(first)), second]);
      for (const source of [Buffer.concat([first, second]), twice]) {
        const app = asAppId(randomUUID());
        const { signal } = new AbortController();
        const staged = images.build({ app, source: Readable.from([source]), onLine: () => {}, signal });
        await staged.then(({ image }) => built.push(image!.id)).catch(() => {});
        expect(asked).toEqual([]);
      }
    });
  });

  it('is built as it was pushed, compressed, with links, long names and folders', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'peer-context-'));
    const long = `${'a-long-name/'.repeat(12)}file.txt`;
    const lines: string[] = [];
    try {
      await mkdir(join(folder, dirname(long)), { recursive: true });
      // Anew in every run, as above.
      await writeFile(join(folder, long), `far down ${randomUUID()}\n`);
      await symlink(long, join(folder, 'link'));
      await writeFile(join(folder, 'run.sh'), '#!/bin/sh\necho it runs\n', { mode: 0o755 });
      await writeFile(
        join(folder, 'Dockerfile'),
        `FROM ${STACK} AS made\nCOPY . /app\nRUN cat /app/link && /app/run.sh\nFROM scratch\nCOPY --from=made /app /app\nCMD ["/app/run.sh"]`,
      );
      // Once there is a reader.
      const compressed = async function* (): AsyncGenerator<Uint8Array> {
        yield* spawn('tar', ['-C', folder, '-czf', '-', '.'], { stdio: ['ignore', 'pipe', 'inherit'] }).stdout;
      };
      const { image } = await images.build({
        app: asAppId(randomUUID()),
        source: compressed(),
        onLine: (line) => lines.push(line),
        signal: new AbortController().signal,
      });
      built.push(image!.id);
    } finally {
      await rm(folder, { recursive: true });
    }
    expect(lines).toEqual(
      expect.arrayContaining([expect.stringContaining('far down'), expect.stringContaining('it runs')]),
    );
  });

  it('cannot reach this machine while it is built', async () => {
    const server = createServer((socket) => socket.end('secret'));
    await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve));
    const { port } = server.address() as { port: number };
    const look = `python3 -c "import socket,struct
gateway = [l.split()[2] for l in open('/proc/net/route') if l.split()[1] == '00000000'][0]
try: print('got', socket.create_connection((socket.inet_ntoa(struct.pack('<L', int(gateway, 16))), ${port}), 2).recv(9))
except OSError as e: print('refused')"`;
    try {
      const lines: string[] = [];
      const Dockerfile = `FROM ${STACK}
RUN ${JSON.stringify(['sh', '-c', `${look}; exit 1`])}`;
      await expect(build({ Dockerfile }, { lines })).rejects.toMatchObject({ code: 'build_failed' });
      expect(lines).toContain('refused');
    } finally {
      server.close();
    }
  });
});
