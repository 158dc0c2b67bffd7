// Which addresses of an API are this machine's own. Pure.

/** Of a host, with or without a port, as a URL has it. */
export const isLoopback = (hostPort: string): boolean =>
  /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/.test(hostPort);
