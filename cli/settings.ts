// The settings of an app among a command's options, read by the table that the node checks them by (crdt/settings.ts).

import { APP_SETTINGS, eachSetting, type SettingValues } from '../crdt/settings.ts';
import { textOption } from './context.ts';
import type { Options } from './parse.ts';
import { parseChoice, parseSize, parseWhole, sizeRange } from './values.ts';

/** What is given on the command line. Fails with UsageError. */
export function settingsIn(options: Options): Partial<SettingValues> {
  const given = eachSetting<string | number>((key) => {
    const rule = APP_SETTINGS[key];
    const text = textOption(options, optionName(rule.name));
    if (text === undefined) return undefined;
    const flag = `--${rule.name}`;
    if (rule.kind === 'choice') return parseChoice<string>(text, flag, rule.choices);
    if (rule.kind === 'count') return parseWhole(text, flag, rule);
    return parseSize(text, flag, sizeRange(rule));
  });
  return given as Partial<SettingValues>;
}

/** `max-surge` → `maxSurge`, as the parser names it. */
const optionName = (name: string): string => name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
