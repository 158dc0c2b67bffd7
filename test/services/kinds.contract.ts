// What every kind of service promises, shown on the real engine in the real sandbox. What follows builds on what came
// before it, as in the life of one service.

import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Access, Endpoint, ServiceKind } from '../../node/ports/services.ts';
import { MARKER, REFUSED_STATUS } from '../../node/services/scripts.ts';
import { type ServiceHost, serviceHost, type TestService } from './harness.ts';

/** One connection of the engine's ordinary client library. */
export type Client = {
  /** Resolves once the engine has acknowledged it. */
  write(key: string, value: string): Promise<void>;
  read(key: string): Promise<string | undefined>;
  /** Of all that was written. */
  clear(): Promise<void>;
  /** Changes what another access made: a column of its table, its queue. */
  alter?(): Promise<void>;
  /** Resolves when the engine has ended the connection. */
  readonly closed: Promise<void>;
  close(): Promise<void>;
};

export type Cling = (access: Access, endpoint: Endpoint) => Promise<(other: Access) => Promise<void>>;

export type Refused = { attempt: (access: Access, endpoint: Endpoint) => Promise<unknown>; says: RegExp };

export type KindCase = {
  kind: ServiceKind;
  connect(access: Access, endpoint: Endpoint): Promise<Client>;
  /** Attempts of an access at more than it has, and the error that each of them meets. */
  refused: Readonly<Record<string, Refused>>;
  /** What an access does to stay in when it is taken away; resolves with how it is undone, by another access. */
  clings?: Readonly<Record<string, Cling>>;
  /** Ports that the engine listens on for others than itself, beside its own. */
  otherPorts?: readonly number[];
  /** More than the plan's, all together, that the engine may let in. */
  spareConnections: number;
  /** Nothing but its password, which Peer alone has, keeps others from coming in as the administrator. */
  adminFromOutside?: true;
  /** What the engine logs last when it is stopped in order. */
  stopped: RegExp;
  /** What the engine logs at a start when it was not. */
  recovery?: RegExp;
  /** A path in the volume that is there while the first run is under way. */
  firstRun: string;
  /** Backups by something else. */
  foreign?: Readonly<Record<string, Buffer>>;
};

const FIRST = ['b0123456789abcdef', 'FirstPassword1'] as const;
const SECOND = ['bfedcba9876543210', 'SecondPassword2'] as const;
/** Each time with a client that goes on being connected. */
const STOPS = Number(process.env.PEER_STOPS ?? 1);
/** Enough that the middle of a backup is data. */
const ROWS = 300;
/** What listens on other addresses than loopback, one port a line, in hexadecimal. */
const LISTENING = `sed -n 's/^ *[0-9]*: 0*:\\([0-9A-F]*\\) 0*:0000 0A .*/\\1/p' /proc/net/tcp /proc/net/tcp6`;
const CLOSED_WITHIN_MS = 10_000;

const closedInTime = (client: Client): Promise<string> =>
  Promise.race([client.closed.then(() => 'closed'), delay(CLOSED_WITHIN_MS, 'open', { ref: false })]);

export function describeKind(kindCase: KindCase): void {
  const { kind } = kindCase;
  describe(kind.name, () => {
    let host: ServiceHost;
    let service: TestService;
    const first = (): Access => service.access(...FIRST);
    const second = (): Access => service.access(...SECOND);
    const connect = (access: Access): Promise<Client> => kindCase.connect(access, service.endpoint);
    const lines = async (command: Parameters<TestService['must']>[0]): Promise<string[]> =>
      (await service.must(command)).toString().trim().split('\n');
    const withClient = async <T>(access: Access, use: (client: Client) => Promise<T>): Promise<T> => {
      const client = await connect(access);
      try {
        return await use(client);
      } finally {
        await client.close();
      }
    };

    beforeAll(async () => {
      host = await serviceHost();
      service = await host.open(kind, 'shop-data');
      const startedAt = performance.now();
      await service.start();
      const [tookMs, memoryBytes] = [performance.now() - startedAt, await service.memoryBytes()];
      console.info(
        `${kind.name} ${service.engine.version}: ready in ${(tookMs / 1000).toFixed(1)} s, ` +
          `idle with ${Math.round(memoryBytes / 1024 ** 2)} MiB`,
      );
    }, 240_000);
    afterAll(() => host?.dispose());

    it('says which engines the machine has, with absolute paths', () => {
      expect(service.engine.version).toMatch(/^\d+(\.\d+)?$/);
      for (const path of Object.values(service.engine.programs)) expect(path).toMatch(/^\//);
    });

    it('has plans that grow', () => {
      const { small, medium, large } = kind.plans;
      for (const [less, more] of [
        [small, medium],
        [medium, large],
      ] as const) {
        expect(more.memoryBytes).toBeGreaterThan(less.memoryBytes);
        expect(more.storageBytes).toBeGreaterThan(less.storageBytes);
        expect(more.connections).toBeGreaterThan(less.connections);
      }
    });

    it('has its secrets in no command line', () => {
      const { context } = service;
      const commands = [
        kind.probe(context),
        kind.accesses(context),
        kind.grant(context, first()),
        kind.revoke(context, FIRST[0]),
        kind.usage(context),
        ...[kind.backup, kind.restore, kind.check].flatMap((one) => (one === undefined ? [] : [one(context)])),
      ];
      for (const { argv } of commands) {
        expect(argv[0]).not.toBe('');
        for (const secret of [context.adminPassword, FIRST[1]]) expect(argv.join(' ')).not.toContain(secret);
      }
      expect(kind.program(context).command).not.toContain(context.adminPassword);
    });

    it('answers its probe, and lets nobody in before an access was granted', async () => {
      expect((await service.run(kind.probe(service.context))).code).toBe(0);
      expect((await service.must(kind.accesses(service.context))).toString()).toBe('');
      await expect(connect(first())).rejects.toThrow();
    });

    it('grants an access, twice over', async () => {
      await service.must(kind.grant(service.context, first()));
      const client = await connect(first());
      await client.write('greeting', 'hello');
      await service.must(kind.grant(service.context, first()));
      expect(await client.read('greeting')).toBe('hello');
      await client.close();
      expect(await lines(kind.accesses(service.context))).toEqual([FIRST[0]]);
    });

    it('says where it is in the words of brokers and libraries', () => {
      const credentials = kind.credentials(first(), { host: 'shop-data.service.internal', port: kind.port });
      expect(credentials).toMatchObject({ password: FIRST[1], port: kind.port });
      expect(String(credentials.uri)).toContain(`${FIRST[0]}:${FIRST[1]}@shop-data.service.internal:${kind.port}`);
      const environment = kind.environment(first(), { host: 'shop-data.service.internal', port: kind.port });
      expect(Object.values(environment)).toContain(credentials.uri);
    });

    it('shows a second access what the first made, and lets it be altered', async () => {
      await service.must(kind.grant(service.context, second()));
      await withClient(second(), async (client) => {
        if (kind.backup !== undefined) expect(await client.read('greeting')).toBe('hello');
        await client.alter?.();
        await withClient(first(), async (other) => {
          await client.write('answer', 'hello too');
          await vi.waitFor(async () => expect(await other.read('answer')).toBe('hello too'));
        });
      });
      expect(await lines(kind.accesses(service.context))).toEqual([FIRST[0], SECOND[0]].sort());
    });

    it('refuses a wrong password, and its administrator from outside', async () => {
      await expect(connect({ ...first(), password: 'Wrong' })).rejects.toThrow();
      if (kindCase.adminFromOutside) return;
      for (const admin of ['peer', 'root', 'guest']) {
        await expect(connect(service.access(admin, service.context.adminPassword))).rejects.toThrow();
      }
    });

    for (const [what, { attempt, says }] of Object.entries(kindCase.refused)) {
      it(`refuses accesses ${what}`, async () => {
        await expect(attempt(first(), service.endpoint)).rejects.toThrow(says);
        expect((await service.run(kind.probe(service.context))).code).toBe(0);
      });
    }

    it('listens nowhere but where it is said to', async () => {
      const found = await lines({ argv: ['/bin/bash', '-c', LISTENING] });
      const ports = new Set(found.map((port) => Number.parseInt(port, 16)));
      expect(ports).toEqual(new Set([kind.port, ...(kindCase.otherPorts ?? [])]));
    });

    it('counts clients and bytes', async () => {
      const looked = async (): Promise<number[]> => {
        const text = (await service.must(kind.usage(service.context))).toString();
        expect(text).toMatch(/^\d+ \d+\n$/);
        return text.trim().split(' ').map(Number);
      };
      await vi.waitFor(async () => expect((await looked())[0]).toBe(0), { timeout: 20_000 });
      await withClient(first(), async () => {
        await vi.waitFor(async () => expect((await looked())[0]).toBe(1), { timeout: 20_000 });
      });
    });

    it('keeps to the connections of its plan, and answers its probe meanwhile', async () => {
      const clients: Client[] = [];
      const most = kind.plans.small.connections + kindCase.spareConnections;
      try {
        const fill = async (): Promise<void> => {
          for (;;) clients.push(await connect(clients.length % 2 === 0 ? first() : second()));
        };
        // Ends when one is refused, or the test's time is over.
        await expect(fill()).rejects.toThrow();
        expect(clients.length).toBeGreaterThanOrEqual(kind.plans.small.connections);
        expect(clients.length).toBeLessThanOrEqual(most);
        expect((await service.run(kind.probe(service.context))).code).toBe(0);
      } finally {
        await Promise.all(clients.map((client) => client.close()));
      }
    }, 120_000);

    it('changes a password', async () => {
      await service.must(kind.grant(service.context, { ...first(), password: 'Changed1' }));
      await expect(connect(first())).rejects.toThrow();
      await withClient({ ...first(), password: 'Changed1' }, async (client) => client.read('greeting'));
      await service.must(kind.grant(service.context, first()));
    });

    it(
      'stops in order with a client connected, and starts with all that it had',
      async () => {
        for (let stop = 1; stop <= STOPS; stop++) {
          const client = await connect(first());
          await client.write('before', `stop ${stop}`);
          const tookMs = await service.stop();
          expect(tookMs).toBeLessThan(kind.program(service.context).stopGraceMs);
          expect(service.log).toMatch(kindCase.stopped);
          await client.close().catch(() => {});
          await service.start();
          if (kindCase.recovery !== undefined) expect(service.log).not.toMatch(kindCase.recovery);
          if (kind.backup === undefined) continue;
          await withClient(first(), async (again) => expect(await again.read('before')).toBe(`stop ${stop}`));
        }
      },
      STOPS * 240_000,
    );

    if (kind.backup !== undefined) describeKept();

    it('takes an access away at once: its connection ends, and its password is refused', async () => {
      const client = await connect(second());
      // What it made last outlives it.
      await client.alter?.();
      await service.must(kind.revoke(service.context, SECOND[0]));
      expect(await closedInTime(client)).toBe('closed');
      await expect(connect(second())).rejects.toThrow();
      expect(await lines(kind.accesses(service.context))).toEqual([FIRST[0]]);
      await withClient(first(), async (other) => {
        if (kind.backup !== undefined) expect(await other.read('answer')).toBe('hello too');
      });
    });

    for (const [what, cling] of Object.entries<Cling>({ 'by taking every place': takeAll, ...kindCase.clings })) {
      it(`takes an access away that clings ${what}`, async () => {
        await service.must(kind.grant(service.context, second()));
        const letGo = await cling(second(), service.endpoint);
        try {
          await service.must(kind.accesses(service.context));
          await service.must(kind.revoke(service.context, SECOND[0]));
          await vi.waitFor(
            async () => {
              await service.startIfEnded();
              expect((await service.must(kind.usage(service.context))).toString()).toMatch(/^\d+ \d+\n$/);
            },
            { timeout: 30_000 },
          );
          expect(await lines(kind.accesses(service.context))).toEqual([FIRST[0]]);
          await expect(connect(second())).rejects.toThrow();
          if (kind.check !== undefined) await service.must(kind.check(service.context));
        } finally {
          await letGo(first());
        }
        await withClient(first(), (client) => client.read('greeting'));
      }, 120_000);
    }

    /** Every connection that the engine lets in. */
    async function takeAll(access: Access): ReturnType<Cling> {
      const clients: Client[] = [];
      const fill = async (): Promise<void> => {
        for (;;) clients.push(await connect(access));
      };
      await expect(fill()).rejects.toThrow();
      return async () => void (await Promise.all(clients.map((client) => client.close().catch(() => {}))));
    }

    it('takes away what is not there without a word, and grants it anew', async () => {
      await service.must(kind.revoke(service.context, SECOND[0]));
      await service.must(kind.revoke(service.context, 'bneverwas'));
      await service.must(kind.grant(service.context, second()));
      await withClient(second(), (client) => client.read('greeting'));
    });

    it('begins a first run again that was killed, with the least that it takes', async () => {
      // As people do name them, and what an engine has a database or a word for.
      const other = await host.open(kind, 'order', kind.least);
      for (let round = 0; round < 2; round++) {
        await other.launch();
        await vi.waitFor(async () => expect(await other.hasFile(kindCase.firstRun)).toBe(true), {
          timeout: 60_000,
          interval: 20,
        });
        // Somewhere in it, later each time.
        await delay(round * 300);
        await other.kill();
      }
      await other.start();
      await other.must(kind.grant(other.context, other.access(...FIRST)));
      const client = await kindCase.connect(other.access(...FIRST), other.endpoint);
      await client.write('greeting', 'hello');
      expect(await client.read('greeting')).toBe('hello');
      await client.close();
      await other.dispose();
    }, 240_000);

    it.each([
      ['another version', JSON.stringify({ kind: kind.name, version: '1' }), `${kind.name} 1,`],
      ['another kind', JSON.stringify({ kind: 'abacus', version: '3' }), 'abacus 3,'],
      ['nothing that can be read', '{"kind":', 'damaged'],
    ])('does not start on data of %s', async (_what, marker, words) => {
      const other = await host.open(kind, 'foreign');
      await writeFile(join(other.volume, MARKER.slice('/data/'.length)), `${marker}\n`);
      await other.launch();
      expect(await other.ended()).toBe(REFUSED_STATUS);
      expect(other.log.trim().split('\n')).toHaveLength(1);
      expect(other.log).toContain(words);
      await other.dispose();
    });

    function describeKept(): void {
      it('loses nothing that it acknowledged when it is killed', async () => {
        const client = await connect(first());
        let acknowledged = 0;
        const writing = (async () => {
          for (;;) {
            await client.write(`row-${acknowledged}`, `value ${acknowledged} ${'x'.repeat(200)}`);
            acknowledged++;
          }
        })();
        writing.catch(() => {});
        await vi.waitFor(() => expect(acknowledged).toBeGreaterThan(ROWS), { timeout: 60_000 });
        await service.kill();
        await expect(writing).rejects.toThrow();
        await client.close().catch(() => {});
        await service.start();
        if (kindCase.recovery !== undefined) expect(service.log).toMatch(kindCase.recovery);
        await withClient(first(), async (again) => {
          for (let row = 0; row < acknowledged; row++) {
            expect(await again.read(`row-${row}`), `row ${row}`).toMatch(`value ${row} x`);
          }
        });
      }, 240_000);

      let backup: Buffer;

      it('backs up, and restores what was deleted since', async () => {
        backup = await service.must(kind.backup!(service.context));
        const magic = kind.backupMagic ?? Buffer.of();
        expect(backup.subarray(0, magic.length)).toEqual(Buffer.from(magic));
        await withClient(first(), async (client) => {
          await client.clear();
          expect(await client.read('row-1')).toBeUndefined();
          await client.write('since', 'the backup');
        });
        await service.must(kind.restore!(service.context), backup);
        await service.must(kind.grant(service.context, first()));
        await withClient(first(), async (client) => {
          expect(await client.read('row-1')).toMatch(/^value 1 x/);
          expect(await client.read('greeting')).toBe('hello');
          expect(await client.read('since')).toBeUndefined();
        });
        expect((await service.must(kind.check!(service.context))).toString()).toMatch(/\d/);
      }, 240_000);

      it('has what was restored after another kill, be it while a restore exchanges the data', async () => {
        await service.kill();
        await rename(join(service.volume, 'db'), join(service.volume, 'db.old'));
        await writeFile(join(service.volume, 'restore.tmp'), 'half a backup');
        await service.start();
        expect(await service.hasFile('restore.tmp')).toBe(false);
        await withClient(first(), async (client) => expect(await client.read('row-2')).toMatch(/^value 2 x/));
      }, 240_000);

      it('restores into a service of another name', async () => {
        // As the engine's own database is named, where it has one.
        const other = await host.open(kind, kind.name);
        await other.start();
        await other.must(kind.restore!(other.context), backup);
        await other.must(kind.grant(other.context, other.access('bnew', 'NewPassword')));
        const client = await kindCase.connect(other.access('bnew', 'NewPassword'), other.endpoint);
        expect(await client.read('row-3')).toMatch(/^value 3 x/);
        await client.close();
        await other.dispose();
      }, 240_000);

      it('refuses a backup that is empty, cut, damaged or of something else, and changes nothing', async () => {
        const damaged = Buffer.from(backup);
        for (let at = 0; at < 16; at++) damaged[Math.floor(damaged.length / 2) + at]! ^= 0xff;
        const bad: Record<string, Buffer> = {
          empty: Buffer.of(),
          'cut in the middle': backup.subarray(0, Math.floor(backup.length / 2)),
          'cut at the end': backup.subarray(0, backup.length - 1),
          'a few bytes': backup.subarray(0, 10),
          damaged,
          text: Buffer.from('What is this?\n'),
          ...kindCase.foreign,
        };
        await withClient(first(), (client) => client.write('since', 'still here'));
        for (const [what, bytes] of Object.entries(bad)) {
          const { code, stderr } = await service.run(kind.restore!(service.context), bytes);
          expect(code, what).not.toBe(0);
          expect(stderr.trim().split('\n'), what).toHaveLength(1);
          await withClient(first(), async (client) => {
            expect(await client.read('since'), what).toBe('still here');
            expect(await client.read('row-1'), what).toMatch(/^value 1 x/);
          });
        }
        expect(await service.hasFile('restore.tmp')).toBe(false);
      }, 240_000);
    }
  });
}
