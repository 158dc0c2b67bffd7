// The flag of an app's setting, as help and the parser know it. Loads little: every command's help needs it.

import { APP_SETTINGS, type SettingKey } from '../crdt/settings.ts';
import type { OptionSpec } from './commands.ts';

export function settingOption(key: SettingKey): OptionSpec {
  const { name, placeholder, help } = APP_SETTINGS[key];
  return { flags: `--${name} <${placeholder}>`, summary: help };
}
