// Keeps notes in the services that it is bound to, with the client libraries that people use. Everything is a GET, so
// that it can be asked from anywhere:
//
//   /notes/SERVICE/KEY            the note; 404 when there is none. ?value=V writes it first. ?by=VARIABLE takes the
//                                 address from that variable, not from VCAP_SERVICES
//   /hold/KIND?uri=URI            opens a connection with other credentials, and answers when it has ended
//   /held                         users of such connections that are open
//   /try/KIND?uri=URI             connects with other credentials: 200, or 502 with the reason
//   /names                        names of all variables, and of the services

import { createServer } from 'node:http';
import { kinds } from './kinds.js';

const services = new Map(
  Object.entries(JSON.parse(process.env.VCAP_SERVICES ?? '{}')).flatMap(([kind, entries]) =>
    entries.map((entry) => [entry.name, { kind, uri: entry.credentials.uri }]),
  ),
);
const held = new Set();
const clients = new Map();

const serviceNamed = (name) => {
  const service = services.get(name);
  if (service === undefined) throw new Error(`not bound to ${name}`);
  return service;
};

/** One for each service and way to it, made once: it has to find its way back itself. */
function clientFor(name, variable) {
  const { kind, uri } = serviceNamed(name);
  const key = `${name} ${variable}`;
  if (!clients.has(key)) clients.set(key, kinds[kind].client(variable === null ? uri : process.env[variable]));
  return clients.get(key);
}

const routes = {
  async notes(url, service, key) {
    const client = clientFor(service, url.searchParams.get('by'));
    const value = url.searchParams.get('value');
    if (value !== null) await client.write(key, value);
    const read = await client.read(key);
    return read === undefined ? [404, 'no such note'] : [200, read];
  },
  async hold(url, kind) {
    const uri = url.searchParams.get('uri');
    const { username } = new URL(uri);
    const connection = await kinds[kind].open(uri);
    held.add(username);
    await connection.closed;
    held.delete(username);
    return [200, 'ended'];
  },
  held: () => [200, JSON.stringify([...held].sort())],
  async try(url, kind) {
    const connection = await kinds[kind].open(url.searchParams.get('uri'));
    await connection.close();
    return [200, 'connected'];
  },
  names: () => [200, JSON.stringify({ variables: Object.keys(process.env).sort(), services: [...services.keys()].sort() })],
};

const server = createServer(async (request, response) => {
  const url = new URL(request.url, 'http://app');
  const [, route, ...parts] = url.pathname.split('/').map(decodeURIComponent);
  let answer = [200, 'data-node'];
  try {
    if (routes[route]) answer = await routes[route](url, ...parts);
  } catch (error) {
    answer = [502, `${error.code ?? ''} ${error.message}`];
  }
  response.writeHead(answer[0], { 'content-type': 'text/plain; charset=utf-8' });
  response.end(answer[1]);
});
server.listen(Number(process.env.PORT ?? 8080));
process.on('SIGTERM', () => process.exit(0));
