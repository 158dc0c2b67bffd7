// Runs inside the sandbox: downloads one file, bounded in size, and says in one line what went wrong. Never unpacks
// it. Arguments: the file to write, the most bytes it may have. The URL, which may hold secrets, and its user name and
// password are in the environment: everyone on the machine reads arguments.

import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

const [path, limit] = process.argv.slice(2);
const { PEER_FETCH_URL: url, PEER_FETCH_USER: user, PEER_FETCH_PASSWORD: password } = process.env;
// Not sent on to another server that this one leads to.
const headers =
  user === undefined ? {} : { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` };
const bytesMax = Number(limit);

async function* bounded(source) {
  let bytes = 0;
  for await (const chunk of source) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw new Error(`it is larger than ${Math.floor(bytesMax / 1024 / 1024)} MiB`);
    yield chunk;
  }
}

try {
  const response = await fetch(url, { headers });
  if (!response.ok || response.body === null) throw new Error(`the server answered ${response.status}`);
  await pipeline(Readable.fromWeb(response.body), bounded, createWriteStream(path));
} catch (error) {
  console.error(`error: ${error.cause?.message ?? error.message}`);
  process.exitCode = 1;
}
