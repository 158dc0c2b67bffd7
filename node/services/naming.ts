// Names that follow from the desired state, the same on every node. Pure.

import type { BindingView } from '../../crdt/view.ts';

const HEX_DIGITS = 16;

/** By which the engine knows the binding; two bindings never share one. */
export const userOf = ({ id }: Pick<BindingView, 'id'>): string =>
  `b${id
    .toLowerCase()
    .replace(/[^0-9a-f]/g, '')
    .slice(0, HEX_DIGITS)
    .padStart(HEX_DIGITS, '0')}`;

/** Whether the engine's name is one that userOf gave: others are not Peer's to take away. */
export const isUserOfBinding = (name: string): boolean => /^b[0-9a-f]{16}$/.test(name);
