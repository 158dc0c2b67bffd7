// Who is asking, and whether that role may: bearer token → user → role. Knows nothing of what is behind the routes.

import { timingSafeEqual } from 'node:crypto';
import type { MiddlewareHandler } from 'hono';
import type { Role } from '../../crdt/schema.ts';
import type { DesiredView, UserView } from '../../crdt/view.ts';
import { tokenHashOf } from '../identity/tokens.ts';
import { ApiError } from './errors.ts';

export type ApiEnv = {
  Variables: {
    user: UserView;
    /** Fails when whoever asked has given up (wanted.ts). */
    stillWanted: () => Promise<void>;
  };
};

/** Each role may do what those before it may. */
const ROLE_ORDER: readonly Role[] = ['viewer', 'developer', 'admin'];

const TOKEN_PATTERN = /^Bearer +(peer_[0-9a-f]{64})$/i;

/** The user whose token it is. Compares with every user, each in constant time. */
export function userOf(users: DesiredView['users'], token: string): UserView | undefined {
  const hash = Buffer.from(tokenHashOf(token));
  let found: UserView | undefined;
  for (const user of users.values()) {
    const candidate = Buffer.from(user.tokenHash);
    if (candidate.length === hash.length && timingSafeEqual(candidate, hash)) found = user;
  }
  return found;
}

export function includesRole(held: Role, needed: Role): boolean {
  return ROLE_ORDER.indexOf(held) >= ROLE_ORDER.indexOf(needed);
}

/** Refuses every request without a valid token. */
export function authenticate(view: () => DesiredView): MiddlewareHandler<ApiEnv> {
  return async (c, next) => {
    const header = c.req.header('authorization');
    if (header === undefined) {
      throw new ApiError('unauthorized', 'this needs a token: pass --token, set PEER_TOKEN, or run: peer login URL');
    }
    const token = TOKEN_PATTERN.exec(header)?.[1];
    const user = token === undefined ? undefined : userOf(view().users, token);
    if (user === undefined) {
      throw new ApiError(
        'unauthorized',
        'the token is not valid in this cluster: ask an admin for one (peer users add NAME --role R)',
      );
    }
    c.set('user', user);
    await next();
  };
}

/** Refuses users below the role. Stands on every route. */
export function requires(role: Role): MiddlewareHandler<ApiEnv> {
  return async (c, next) => {
    const user = c.get('user');
    if (!includesRole(user.role, role)) {
      throw new ApiError('forbidden', `this needs the role ${role}, and ${user.name} is a ${user.role}: ask an admin`);
    }
    await next();
  };
}
