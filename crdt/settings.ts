// The settings of an app that are one value each, declared once: what each may be, what it is when nobody says, and
// how people call it. The document, its view, the API, the command line and its help follow from this table. A
// setting of a new kind (health has three values, environment and scale are maps) has code of its own in each of
// those.

import {
  DISK_BYTES_DEFAULT,
  DISK_BYTES_MAX,
  DISK_BYTES_MIN,
  MAX_SURGE_DEFAULT,
  MAX_SURGE_MAX,
  MAX_SURGE_MIN,
  MAX_UNAVAILABLE_DEFAULT,
  MAX_UNAVAILABLE_MAX,
  MAX_UNAVAILABLE_MIN,
  MEMORY_BYTES_DEFAULT,
  MEMORY_BYTES_MAX,
  MEMORY_BYTES_MIN,
  PARTITION_DEFAULT,
  PARTITION_MODES,
  STRATEGIES,
  STRATEGY_DEFAULT,
} from './limits.ts';

type Said = {
  /** What people call it: the flag, and what a release is said to have changed. */
  readonly name: string;
  /** Of the flag's value, in help. */
  readonly placeholder: string;
  readonly help: string;
};
type NumberSetting = Said & {
  /** `size`: bytes, as people write sizes. */
  readonly kind: 'size' | 'count';
  readonly min: number;
  readonly max: number;
  readonly default: number;
};
type ChoiceSetting<T extends string> = Said & {
  readonly kind: 'choice';
  readonly choices: readonly T[];
  readonly default: T;
};

export const APP_SETTINGS = {
  memoryBytes: {
    kind: 'size',
    min: MEMORY_BYTES_MIN,
    max: MEMORY_BYTES_MAX,
    default: MEMORY_BYTES_DEFAULT,
    name: 'memory',
    placeholder: 'M',
    help: 'Memory of each instance, such as 256M',
  },
  diskBytes: {
    kind: 'size',
    min: DISK_BYTES_MIN,
    max: DISK_BYTES_MAX,
    default: DISK_BYTES_DEFAULT,
    name: 'disk',
    placeholder: 'D',
    help: 'Disk of each instance, such as 1G',
  },
  strategy: {
    kind: 'choice',
    choices: STRATEGIES,
    default: STRATEGY_DEFAULT,
    name: 'strategy',
    placeholder: 'S',
    help: 'rolling or recreate (rolling)',
  },
  partition: {
    kind: 'choice',
    choices: PARTITION_MODES,
    default: PARTITION_DEFAULT,
    name: 'partition',
    placeholder: 'MODE',
    help: 'serve on every side of a partition, or fence: only on the majority (serve)',
  },
  maxUnavailable: {
    kind: 'count',
    min: MAX_UNAVAILABLE_MIN,
    max: MAX_UNAVAILABLE_MAX,
    default: MAX_UNAVAILABLE_DEFAULT,
    name: 'max-unavailable',
    placeholder: 'N',
    help: 'Instances that a roll-out may leave down at a time (1)',
  },
  maxSurge: {
    kind: 'count',
    min: MAX_SURGE_MIN,
    max: MAX_SURGE_MAX,
    default: MAX_SURGE_DEFAULT,
    name: 'max-surge',
    placeholder: 'N',
    help: 'Instances that may run twice during a roll-out; 0: the old one goes first (1)',
  },
} as const satisfies Record<string, NumberSetting | ChoiceSetting<string>>;

type Table = typeof APP_SETTINGS;
export type SettingKey = keyof Table;
type ValueOf<S> = S extends { choices: readonly (infer T)[] } ? T : number;

/** A value for each. */
export type SettingValues = { [K in SettingKey]: ValueOf<Table[K]> };

export const SETTING_KEYS = Object.keys(APP_SETTINGS) as SettingKey[];

/** One value for each setting, as `of` gives it; what it leaves undefined is left out. */
export function eachSetting<T>(of: (key: SettingKey) => T | undefined): Partial<Record<SettingKey, T>> {
  return Object.fromEntries(
    SETTING_KEYS.flatMap((key) => {
      const value = of(key);
      return value === undefined ? [] : [[key, value]];
    }),
  );
}
