// Passwords that no person has to remember: of services and of what is bound to them.

import { randomInt } from 'node:crypto';

const CHARACTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
/** 190 bits. */
const PASSWORD_LENGTH = 32;

/** Letters and digits: nothing that a URL, a shell or an engine's command would take for more. */
export const newPassword = (): string =>
  Array.from({ length: PASSWORD_LENGTH }, () => CHARACTERS[randomInt(CHARACTERS.length)]).join('');
