// Sticky sessions, as Cloud Foundry's router does them: an app that sets JSESSIONID gets a second cookie, __VCAP_ID__,
// that names the instance; later requests go there while it lives. Pure.

import { asInstanceId, type InstanceId } from '../../crdt/ids.ts';

const SESSION_COOKIE = 'JSESSIONID';
const INSTANCE_COOKIE = '__VCAP_ID__';

/** The instance the client is bound to. Undefined unless it sends both cookies. */
export function boundInstance(cookieHeader: string | undefined): InstanceId | undefined {
  if (!cookieHeader?.includes(INSTANCE_COOKIE)) return undefined;
  let session = false;
  let instance: string | undefined;
  for (const pair of cookieHeader.split(';')) {
    const equals = pair.indexOf('=');
    if (equals === -1) continue;
    const name = pair.slice(0, equals).trim();
    if (name === SESSION_COOKIE) session = true;
    else if (name === INSTANCE_COOKIE) instance ??= pair.slice(equals + 1).trim();
  }
  return session && instance ? asInstanceId(instance) : undefined;
}

/**
 * The Set-Cookie to add to a response of `instance`, if any: when it starts, renews or ends a session, or when the
 * client was bound to another instance. An app that sets __VCAP_ID__ itself is left alone. `headers` is flat: name,
 * value…
 */
export function stickyCookie(
  headers: readonly string[],
  instance: InstanceId,
  bound: InstanceId | undefined,
): string | undefined {
  let session: string | undefined;
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = headers[at]!;
    if (name.length !== 10 || name.toLowerCase() !== 'set-cookie') continue;
    const value = headers[at + 1]!;
    if (value.startsWith(`${INSTANCE_COOKIE}=`)) return undefined;
    if (value.startsWith(`${SESSION_COOKIE}=`)) session = value;
  }
  if (session === undefined) {
    return bound !== undefined && bound !== instance ? `${INSTANCE_COOKIE}=${instance}; Path=/; HttpOnly` : undefined;
  }
  const attributes = session
    .split(';')
    .slice(1)
    .map((attribute) => attribute.trim());
  const copied = attributes.filter((attribute) =>
    /^(path|expires|max-age|samesite)=|^(secure|partitioned)$/i.test(attribute),
  );
  if (!copied.some((attribute) => /^path=/i.test(attribute))) copied.unshift('Path=/');
  return [`${INSTANCE_COOKIE}=${instance}`, ...copied, 'HttpOnly'].join('; ');
}
