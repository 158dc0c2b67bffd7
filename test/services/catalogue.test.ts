// The catalogue of kinds, on literals: what it has, how engines are found, and the words in which apps are told.

import { describe, expect, it } from 'vitest';
import type { Machine } from '../../node/ports/services.ts';
import {
  engineFor,
  engineNames,
  findEngines,
  howToInstall,
  KINDS,
  kindOf,
  PLAN_NAMES,
  planOf,
} from '../../node/services/catalogue.ts';
import { machine } from '../../node/services/machine.ts';
import { mysql } from '../../node/services/mysql.ts';
import { databaseName, quoted, word } from '../../node/services/names.ts';
import { postgres } from '../../node/services/postgres.ts';
import { rabbitmq } from '../../node/services/rabbitmq.ts';
import { redis } from '../../node/services/redis.ts';

/** A machine that has these programs, each of which says so of itself. */
const machineWith = (programs: Readonly<Record<string, string>>): Machine => ({
  async find(pattern) {
    const wanted = new RegExp(`^${pattern.replaceAll('*', '[^/]*')}$`);
    return Object.keys(programs)
      .filter((path) => wanted.test(path))
      .sort();
  },
  firstLine: async ([path = '']) => programs[path],
});

const postgresPrograms = (version: number): Record<string, string> =>
  Object.fromEntries(
    ['postgres', 'initdb', 'psql', 'pg_isready', 'pg_dump', 'pg_restore', 'pg_basebackup'].map((name) => [
      `/usr/lib/postgresql/${version}/bin/${name}`,
      `${name} (PostgreSQL) ${version}.3`,
    ]),
  );

describe('the catalogue', () => {
  it('has kinds by their names, each once', () => {
    const names = KINDS.map(({ name }) => name);
    expect(names).toEqual(['mysql', 'nats', 'postgres', 'rabbitmq', 'redis']);
    expect(names.map((name) => kindOf(name)?.name)).toEqual(names);
    expect(kindOf('oracle')).toBeUndefined();
    expect(kindOf('constructor')).toBeUndefined();
  });

  it('has the three plans of each kind, and no other', () => {
    for (const kind of KINDS) {
      for (const name of PLAN_NAMES) expect(planOf(kind, name)?.connections).toBeGreaterThan(0);
      expect(planOf(kind, 'huge')).toBeUndefined();
      expect(planOf(kind, 'toString')).toBeUndefined();
    }
  });

  it('finds the engines of a machine, newest first', async () => {
    const engines = await findEngines(
      machineWith({ ...postgresPrograms(9), ...postgresPrograms(15), ...postgresPrograms(16) }),
    );
    expect(engineNames(engines)).toEqual(['postgres 15', 'postgres 16', 'postgres 9']);
    expect(engines.get('postgres')?.map(({ version }) => version)).toEqual(['16', '15', '9']);
    expect(engineFor(engines, 'postgres', '15')?.programs.psql).toBe('/usr/lib/postgresql/15/bin/psql');
    expect(engineFor(engines, 'postgres', '14')).toBeUndefined();
    expect(engineFor(engines, 'redis', '7.0')).toBeUndefined();
  });

  it('takes Valkey for Redis', async () => {
    const engines = await findEngines(
      machineWith({
        '/usr/bin/valkey-server': 'Valkey server v=8.0.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64',
        '/usr/bin/valkey-cli': 'valkey-cli 8.0.1',
        '/usr/bin/valkey-check-rdb': '',
      }),
    );
    expect(engineNames(engines)).toEqual(['redis 8.0']);
  });

  it('does not find one that lacks a program', async () => {
    const { '/usr/lib/postgresql/15/bin/pg_dump': _missing, ...others } = postgresPrograms(15);
    expect(await findEngines(machineWith(others))).toEqual(new Map());
    expect(await findEngines(machineWith({}))).toEqual(new Map());
  });

  it('says what to install', () => {
    expect(howToInstall(postgres)).toContain('postgresql');
  });

  it('finds every kind on the machine of these tests', async () => {
    expect([...(await findEngines(machine)).keys()].sort()).toEqual(KINDS.map(({ name }) => name));
  });
});

describe('this machine', () => {
  it('finds programs by patterns', async () => {
    expect(await machine.find('/bin/s*h')).toContain('/bin/sh');
    expect(await machine.find('/no/such/*/folder')).toEqual([]);
    expect(await machine.find('/etc/passwd')).toEqual([]);
  });

  it('reads the first line of what a program prints', async () => {
    expect(await machine.firstLine(['/bin/echo', 'one\ntwo'])).toBe('one');
    expect(await machine.firstLine(['/bin/false'])).toBeUndefined();
    expect(await machine.firstLine(['/no/such/program'])).toBeUndefined();
  });
});

describe('names in commands', () => {
  it.each([
    ['shop', 'shop'],
    ['shop-data', 'shop_data'],
    ['4shop', 'd4shop'],
    ['a'.repeat(70), 'a'.repeat(63)],
    // What an engine has under this name is nobody's to be let into.
    ['mysql', 'dmysql'],
    ['postgres', 'dpostgres'],
    ['template1', 'dtemplate1'],
    ['information-schema', 'dinformation_schema'],
    ['peer-restoring', 'dpeer_restoring'],
  ])('the database of %s is %s', (service, database) => {
    expect(databaseName(service)).toBe(database);
  });

  it('are letters and digits, or quoted', () => {
    expect(word('b0123')).toBe('b0123');
    for (const text of ["b'; DROP", '', 'b c', 'b\n']) expect(() => word(text)).toThrow('letters and digits');
    expect(quoted("it's")).toBe("'it'\\''s'");
  });
});

describe('what apps are told', () => {
  const access = { user: 'b01', password: 'Secret1', database: 'shop_data' };
  const at = (port: number) => ({ host: 'shop-data.service.internal', port });

  it('PostgreSQL', () => {
    expect(postgres.credentials(access, at(5432))).toMatchObject({
      uri: 'postgresql://b01:Secret1@shop-data.service.internal:5432/shop_data',
      jdbcUrl: 'jdbc:postgresql://shop-data.service.internal:5432/shop_data?user=b01&password=Secret1',
      hostname: 'shop-data.service.internal',
      username: 'b01',
      name: 'shop_data',
    });
    expect(postgres.environment(access, at(5432))).toMatchObject({
      DATABASE_URL: 'postgresql://b01:Secret1@shop-data.service.internal:5432/shop_data',
      PGHOST: 'shop-data.service.internal',
      PGPORT: '5432',
      PGUSER: 'b01',
      PGPASSWORD: 'Secret1',
      PGDATABASE: 'shop_data',
      SPRING_DATASOURCE_URL: 'jdbc:postgresql://shop-data.service.internal:5432/shop_data',
    });
  });

  it('MySQL', () => {
    expect(mysql.credentials(access, at(3306))).toMatchObject({
      uri: 'mysql://b01:Secret1@shop-data.service.internal:3306/shop_data',
      jdbcUrl: 'jdbc:mysql://shop-data.service.internal:3306/shop_data?user=b01&password=Secret1',
      hostname: 'shop-data.service.internal',
      username: 'b01',
      name: 'shop_data',
    });
    expect(mysql.environment(access, at(3306))).toMatchObject({
      DATABASE_URL: 'mysql://b01:Secret1@shop-data.service.internal:3306/shop_data',
      MYSQL_HOST: 'shop-data.service.internal',
      MYSQL_DATABASE: 'shop_data',
    });
  });

  it('Redis', () => {
    expect(redis.credentials(access, at(6379))).toMatchObject({
      uri: 'redis://b01:Secret1@shop-data.service.internal:6379',
      host: 'shop-data.service.internal',
      port: 6379,
      password: 'Secret1',
    });
    expect(redis.environment(access, at(6379)).REDIS_URL).toBe('redis://b01:Secret1@shop-data.service.internal:6379');
  });

  it('RabbitMQ', () => {
    const uri = 'amqp://b01:Secret1@shop-data.service.internal:5672/main';
    expect(rabbitmq.credentials(access, at(5672))).toMatchObject({
      uri,
      vhost: 'main',
      protocols: { amqp: { uri, username: 'b01', vhost: 'main' } },
    });
    expect(rabbitmq.environment(access, at(5672))).toMatchObject({
      AMQP_URL: uri,
      CLOUDAMQP_URL: uri,
      RABBITMQ_URL: uri,
    });
  });
});
