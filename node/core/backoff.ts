// Restart backoff: when a crashed slot may be started again. Pure arithmetic.

import type { CoreConfig } from './config.ts';

/**
 * Delay before the next start after `crashes` crashes in a row (≥ 1), ms: 0 for the first three, then 30 s doubling to
 * 16 min. The exponent is capped before the shift, so any count is safe.
 * @see Cloud Foundry HM9000's crash policy
 */
export function restartDelayMs(config: CoreConfig, crashes: number): number {
  const beyond = crashes - config.crashesRestartedAtOnce;
  if (beyond <= 0) return 0;
  return Math.min(config.backoffMaxMs, config.backoffFirstMs * 2 ** Math.min(beyond - 1, 30));
}
