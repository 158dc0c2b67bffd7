// How a change that was called off is told. Pure.

import type { RefusedShape } from '../node/api/shapes.ts';

export const refusedText = ({ release, keys, reason }: RefusedShape): string =>
  `${release}${keys.length === 0 ? '' : ` (${keys.join(', ')})`}: ${reason}`;
