// The programs of Peer that run inside the sandbox, and where it sees them. Starts none of them.

import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Bind } from '../ports/sandbox.ts';

const ROOT = '/opt/peer/lifecycle';
/** `.ts` in a checkout, `.js` in a published package. */
const EXTENSION = import.meta.url.slice(import.meta.url.lastIndexOf('.'));

/** Runs Cloud Native Buildpacks. */
export const LIFECYCLE = `${ROOT}/cnb/lifecycle${EXTENSION}`;

export const programs = (runner: string): Bind[] => [
  { from: here('runner.sh'), to: runner, writable: false },
  { from: here('download.mjs'), to: `${ROOT}/download.mjs`, writable: false },
  { from: here('cnb'), to: `${ROOT}/cnb`, writable: false },
  // Says that the files beside it are modules.
  { from: here('../../package.json'), to: `${ROOT}/package.json`, writable: false },
  // The lifecycle's only package, found above it as in any program.
  { from: packageFolder('smol-toml'), to: `${ROOT}/node_modules/smol-toml`, writable: false },
];

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** …/smol-toml/dist/index.cjs → …/smol-toml */
const packageFolder = (name: string): string => dirname(dirname(createRequire(import.meta.url).resolve(name)));
