// peer service export: opens a service to whoever reaches an address of a node, shows it, and closes it.

import { rm, writeFile } from 'node:fs/promises';
import { answer } from '../client.ts';
import { type Context, flagOption, textOption } from '../context.ts';
import { CliError, UsageError } from '../errors.ts';
import { parseHostPort, parseNameOrId } from '../values.ts';
import { uriOf } from './clients.ts';
import { statusOf } from './manage.ts';

/** No address that a client could be told. */
const WILDCARDS: readonly string[] = ['0.0.0.0', '::'];
const USAGE = 'peer service export NAME HOST:PORT, or NAME --stop';

export async function exportService([given, where]: readonly (string | undefined)[], context: Context): Promise<void> {
  const { options, client, output } = context;
  const name = parseNameOrId(given!, 'service');
  const file = textOption(options, 'certificate');
  const node = textOption(options, 'node');
  if (flagOption(options, 'stop')) {
    if (where !== undefined || file !== undefined || node !== undefined) {
      throw new UsageError(`--stop goes alone: ${USAGE}`);
    }
    const done = await answer((await client()).v1.services[':name'].export.$delete({ param: { name } }));
    output.result(done, () => `${done.service} is closed: its credentials have ended, and connections with them`);
    return;
  }
  if (where === undefined) {
    if (file === undefined) throw new UsageError(`HOST:PORT is missing: ${USAGE}`);
    return certificateOf(name, file, context);
  }
  const address = parseHostPort(where, 'the address');
  const colon = address.lastIndexOf(':');
  const listen = { host: address.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(address.slice(colon + 1)) };
  if (listen.port === 0) throw new UsageError(`the address ${where}: clients have to know the port, so say which`);
  const json = { ...listen, ...(node === undefined ? {} : { node: parseNameOrId(node, '--node') }) };
  const connected = await client();
  const open = () => answer(connected.v1.services[':name'].export.$post({ param: { name }, json }));
  const made = file === undefined ? await open() : await withCertificate(file, open);
  const isAll = WILDCARDS.includes(made.host);
  const uri = isAll ? null : (uriOf(made.kind, made, made, { isSecure: true }) ?? null);
  const place = isAll ? `port ${made.port} of any address of ${made.node}` : `${address} on ${made.node}`;
  if (made.warning !== null) output.note(`warning: ${made.warning}`);
  output.result({ ...made, uri }, () =>
    [
      `${name} is open to whoever reaches ${place}, with TLS and these credentials, which are shown once:`,
      ...(uri === null ? [] : [`url          ${uri}`]),
      `user         ${made.user}`,
      `password     ${made.password}`,
      `database     ${made.database}`,
      `certificate  ${file === undefined ? `peer service export ${name} --certificate FILE writes what clients are to trust` : `${file}, for clients to trust`}`,
      `fingerprint  ${made.fingerprint} (SHA-256 of its key)`,
      `close it with: peer service export ${name} --stop`,
    ].join('\n'),
  );
}

async function certificateOf(name: string, file: string, { client, output }: Context): Promise<void> {
  const { export: exported } = await statusOf(await client(), name);
  if (exported === null) {
    throw new CliError('not_exported', `${name} is not exported: peer service export ${name} HOST:PORT does it`);
  }
  if (exported.certificate === null) {
    throw new CliError('secret_unreadable', `this node cannot tell what ${name} is trusted by: ask another one`);
  }
  await writeCertificate(file, exported.certificate);
  const { certificate: _, ...shown } = exported;
  output.result({ service: name, file, ...shown }, () => `${file} is what clients of ${name} are to trust`);
}

/** Before anything is opened the file is made: the password is shown once. */
async function withCertificate<T extends { certificate: string }>(file: string, work: () => Promise<T>): Promise<T> {
  await writeCertificate(file, '');
  try {
    const made = await work();
    await writeFile(file, made.certificate);
    return made;
  } catch (error) {
    await rm(file, { force: true });
    throw error;
  }
}

/** It is no secret; a file that is there may be another one's. */
async function writeCertificate(file: string, certificate: string): Promise<void> {
  try {
    await writeFile(file, certificate, { flag: 'wx' });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = code === 'EEXIST' ? 'it is there already: name another file' : message;
    throw new CliError('not_written', `--certificate ${file}: ${why}`, { cause: error });
  }
}
