// Runs inside the sandbox: downloads one file, bounded in size, and says in one line what went wrong. Never unpacks it.
// Arguments: the URL, the file to write, the most bytes it may have.

import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

const [url, path, limit] = process.argv.slice(2);
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
  const response = await fetch(url);
  if (!response.ok || response.body === null) throw new Error(`the server answered ${response.status}`);
  await pipeline(Readable.fromWeb(response.body), bounded, createWriteStream(path));
} catch (error) {
  console.error(`error: ${error.cause?.message ?? error.message}`);
  process.exitCode = 1;
}
