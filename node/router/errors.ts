// The errors that leave the router's code. Messages are for people: what happened and what to do, one line.

/**
 * - `port_in_use`, `address_unavailable`, `listen_failed`: the router does not run; nothing was changed; retry with
 *   another address.
 * - `bad_address`: not HOST:PORT.
 * - `start_failed`: the process ended or stayed silent.
 * - `gave_up`: it crashed RESTARTS_MAX times in a row and stays down.
 */
export type RouterErrorCode =
  | 'port_in_use'
  | 'address_unavailable'
  | 'listen_failed'
  | 'bad_address'
  | 'start_failed'
  | 'gave_up';

export class RouterError extends Error {
  readonly code: RouterErrorCode;
  constructor(code: RouterErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * A link could not be used.
 * - `unreachable`, `timeout`: nothing was sent; a retry is safe.
 * - `wrong_identity`: another node answered at the address, or none that can prove its identity. Nothing was sent.
 * - `refused`: the other side answered the request to open a tunnel with an error, named in the message.
 */
export class LinkError extends Error {
  readonly code: 'unreachable' | 'timeout' | 'wrong_identity' | 'refused';
  constructor(code: LinkError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * Joining through a link failed. With `unreachable`, `wrong_identity`, `busy` and the codes of the other node's
 * handler nothing was changed; after `timeout`, `bad_reply` and `reply_too_large` the node may have been admitted, and
 * asking again is safe.
 */
export class JoinError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
