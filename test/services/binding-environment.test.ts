import { describe, expect, it } from 'vitest';
import { asAppId } from '../../crdt/ids.ts';
import { servicesEnvironment, withReferences } from '../../node/services/binding-environment.ts';
import { binding, folderKind, open, service, viewOf } from './fixtures.ts';

const kind = folderKind('/nowhere');
const kindOf = (name: string) => (name === 'folder' ? kind : undefined);
const shop = asAppId('app-shop');
const environmentOf = (view: ReturnType<typeof viewOf>) => servicesEnvironment({ view, app: shop, kindOf, open });
const vcapIn = (env: Record<string, string>) => JSON.parse(env.VCAP_SERVICES ?? '');

describe('the environment of an app', () => {
  it('names each service in the shape of Cloud Foundry', () => {
    const files = service('files');
    const { env } = environmentOf(viewOf([files], [binding(1, files)]));
    expect(vcapIn(env)).toEqual({
      folder: [
        {
          name: 'files',
          label: 'folder',
          tags: ['files'],
          plan: 'small',
          credentials: {
            uri: 'folder://b0000000100004000:password1@files.service.internal:70/files',
            username: 'b0000000100004000',
            password: 'password1',
          },
          syslog_drain_url: null,
          instance_guid: 'service-files',
          instance_name: 'files',
          binding_guid: '00000001-0000-4000-8000-000000000000',
          binding_name: null,
          volume_mounts: [],
        },
      ],
    });
  });

  it('has an empty VCAP_SERVICES where nothing is bound', () => {
    expect(environmentOf(viewOf([service('files')], []))).toEqual({ env: { VCAP_SERVICES: '{}' }, hosts: [] });
  });

  it('leaves out what is bound to other apps', () => {
    const files = service('files');
    const elsewhere = binding(1, files, { app: asAppId('app-blog') });
    expect(environmentOf(viewOf([files], [elsewhere])).env).toEqual({ VCAP_SERVICES: '{}' });
  });

  it('has the variables of the older of two of a kind, and those of the other behind its prefix', () => {
    const [first, second] = [service('first'), service('second')];
    const bindings = [binding(2, second, { prefix: 'SPARE' }), binding(1, first)];
    const { env } = environmentOf(viewOf([first, second], bindings));
    expect(env.FOLDER_URL).toBe('folder://b0000000100004000:password1@first.service.internal:70');
    expect(env.SPARE_FOLDER_URL).toBe('folder://b0000000200004000:password2@second.service.internal:70');
    expect(env.SPARE_URL).toBe('folder://b0000000200004000:password2@second.service.internal:70/second');
  });

  it('says at which address each name is', () => {
    const files = service('files', { address: '198.18.3.4' });
    const { hosts } = environmentOf(viewOf([files], [binding(1, files)]));
    expect(hosts).toEqual([{ name: 'files.service.internal', address: '198.18.3.4' }]);
  });

  it('passes on what a user provided, as it is, with the variable of its scheme', () => {
    const own = service('own', { kind: 'user-provided', volume: undefined });
    const sealed = service('own', {
      ...own,
      secret: `sealed service/${own.id} {"uri":"postgres://u:p@db.example/x","extra":1}`,
    });
    const { env, hosts } = environmentOf(viewOf([sealed], [binding(1, sealed)]));
    expect(env.DATABASE_URL).toBe('postgres://u:p@db.example/x');
    expect(vcapIn(env)['user-provided'][0].credentials).toEqual({ uri: 'postgres://u:p@db.example/x', extra: 1 });
    expect(vcapIn(env)['user-provided'][0]).not.toHaveProperty('plan');
    expect(hosts).toEqual([]);
  });

  it('is not made when a secret cannot be opened', () => {
    const files = service('files');
    const foreign = binding(1, files, { secret: 'sealed binding/another password' });
    expect(() => environmentOf(viewOf([files], [foreign]))).toThrow('not sealed for');
  });

  it('starts without a kind that this version does not know', () => {
    const future = service('future', { kind: 'future' });
    expect(environmentOf(viewOf([future], [binding(1, future)])).env).toEqual({ VCAP_SERVICES: '{}' });
  });
});

describe("an app's own variables", () => {
  const ofServices = { PGHOST: 'db.service.internal', PGPORT: '5432', PGPASSWORD: '$(PGHOST)' };

  it.each([
    ['$(PGHOST):$(PGPORT)', 'db.service.internal:5432'],
    ['$$(PGHOST)', '$(PGHOST)'],
    ['$(PGPASSWORD)', '$(PGHOST)'],
    ['$(date) $(UNKNOWN) $PGHOST', '$(date) $(UNKNOWN) $PGHOST'],
    ['$(toString)', '$(toString)'],
    ['plain', 'plain'],
  ])('%s is %s', (written, filled) => {
    expect(withReferences({ X: written }, ofServices)).toEqual({ X: filled });
  });

  it('never grow without end', () => {
    const long = '$(LONG)'.repeat(9_000);
    expect(withReferences({ X: long }, { LONG: 'x'.repeat(1_000) })).toEqual({ X: long });
  });
});
