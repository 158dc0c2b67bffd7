// Settings are declared once: each is in the document, in the view, and in the API's bodies and answers.

import { describe, expect, it } from 'vitest';
import { APP_SETTINGS, SETTING_KEYS } from '../../crdt/settings.ts';
import { settingsBody } from '../../node/api/validate.ts';
import { testApi } from '../api/client.ts';

const other = (key: (typeof SETTING_KEYS)[number]): string | number => {
  const rule = APP_SETTINGS[key];
  return rule.kind === 'choice' ? rule.choices.find((one) => one !== rule.default)! : rule.max;
};

describe.each(SETTING_KEYS)('the setting %s', (key) => {
  it('has its default when nobody says, can be set, and is shown', async () => {
    const { developer } = testApi();
    await developer.post('/v1/apps', { name: 'hello' });
    expect((await developer.get('/v1/apps/hello')).body).toMatchObject({ [key]: APP_SETTINGS[key].default });
    expect(await developer.send('PATCH', '/v1/apps/hello', { [key]: other(key) })).toMatchObject({ status: 200 });
    expect((await developer.get('/v1/apps/hello')).body).toMatchObject({ [key]: other(key) });
  });

  it('is refused when it is not one of what it can be', async () => {
    const { developer } = testApi();
    await developer.post('/v1/apps', { name: 'hello' });
    const rule = APP_SETTINGS[key];
    const wrong = rule.kind === 'choice' ? ['never', 7] : [rule.min - 1, rule.max + 1, 'much'];
    for (const value of wrong) {
      const { status, body } = await developer.send('PATCH', '/v1/apps/hello', { [key]: value });
      expect({ status, body }).toMatchObject({ status: 400, body: { error: { code: 'bad_request' } } });
    }
    expect(Object.keys(settingsBody.entries)).toContain(key);
  });
});
