// StartOptions: what `peer start` may ask of the daemon, how the daemon reads it from its argument, and every default.
// No I/O but the host's name.

import { hostname } from 'node:os';
import * as v from 'valibot';
import {
  LABELS_PER_NODE_MAX,
  labelCountProblem,
  labelKeyProblem,
  labelValueProblem,
  oneLine,
} from '../../crdt/limits.ts';
import { parseHostPort } from '../lib/host-port.ts';
import { parseNetwork } from '../runtime/network/policy.ts';

/** What the CLI passes as JSON, `node/main.ts '{"dataDir":…}'`. Everything but the data directory has a default. */
export type StartOptions = {
  /** Absolute. Holds the node's identity, desired state, blobs, logs and node.json. */
  dataDir: string;
  name?: string;
  /**
   * An invite made by `peer invite`; absent: the first node of a new cluster, or one that is a member already. Among
   * the daemon's arguments it is FROM_STDIN alone.
   */
  join?: string;
  /** `HOST:PORT` of the libp2p listener. Port 0, here and in the next three: any free port. */
  listen?: string;
  /** `HOST:PORT` of the link between nodes. */
  link?: string;
  /** `HOST:PORT` of the API. */
  api?: string;
  /** `HOST:PORT` of the public HTTP listener. */
  http?: string;
  /** Host that other nodes are told to reach this one at; absent: the addresses of its interfaces. */
  advertise?: string;
  runtime?: RuntimeChoice;
  /** Memory that instances may take on this node; absent: decided from the machine's memory. */
  memoryBytes?: number;
  /** What blobs and build caches may take on this node's disk; absent: a share of the file system. */
  blobsBytes?: number;
  /** Domain of default routes; only the first node of a cluster decides it. */
  domain?: string;
  labels?: Record<string, string>;
  insecureProcessRuntime?: boolean;
  /** Passphrase of the node's key; absent: the key lies in clear. Among the daemon's arguments as `join` is. */
  unlock?: string;
  /** IPv4 networks that apps and builds may reach although they are private, `10.1.0.0/16`. */
  allowNetworks?: string[];
};

export type RuntimeChoice = 'auto' | 'docker' | 'process';

/** StartOptions with the defaults filled in. */
export type NodeOptions = StartOptions &
  Required<
    Pick<
      StartOptions,
      | 'name'
      | 'listen'
      | 'link'
      | 'api'
      | 'http'
      | 'runtime'
      | 'domain'
      | 'labels'
      | 'insecureProcessRuntime'
      | 'allowNetworks'
    >
  >;

/** An invite and a passphrase come on the daemon's stdin: everyone on the machine can read arguments. */
export const FROM_STDIN = '-';
/** What is read there; an invite and a passphrase are shorter. */
export const STDIN_BYTES_MAX = 128 * 1024;

/** What is for nobody else's eyes, as it comes on the daemon's stdin: JSON. */
export type SecretOptions = Pick<StartOptions, 'join' | 'unlock'>;

/** In the place of an option that comes there. */
export function withSecrets(given: Record<string, unknown>, stdin: string): Record<string, unknown> {
  let secrets: SecretOptions;
  try {
    secrets = JSON.parse(stdin) as SecretOptions;
  } catch {
    throw new OptionsError('what came on stdin is not what peer start sends');
  }
  const { join, unlock } = secrets;
  return { ...given, ...(join === undefined ? {} : { join }), ...(unlock === undefined ? {} : { unlock }) };
}

/** Nodes and apps are reachable from elsewhere at once; the API, which can do everything, only from this machine. */
export const START_DEFAULTS = {
  listen: '0.0.0.0:7601',
  link: '0.0.0.0:7602',
  api: '127.0.0.1:7600',
  http: '0.0.0.0:8080',
  runtime: 'auto',
  domain: 'localhost',
} as const;

/** Who has the disk tries as many as there are. */
const PASSPHRASE_CHARS_MIN = 8;
const NODE_NAME_CHARS_MAX = 63;
const ALLOW_NETWORKS_MAX = 32;
const OLDER_LABEL_KEY = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$/;
const OLDER_LABEL_CHARS_MAX = 128;
const MESSAGE_CHARS_MAX = 300;
/** Below this not even the sources of a small app and its droplet fit. */
const BLOBS_BYTES_MIN = 1024 * 1024;
/** Below this not even one small instance fits. */
const MEMORY_BYTES_MIN = 16 * 1024 * 1024;

/** What is wrong with the options; one line, names the option. Nothing has been started. */
export class OptionsError extends Error {
  readonly code = 'bad_options';
}

const listenAddress = v.pipe(
  v.string('should be HOST:PORT'),
  v.check((text) => parseHostPort(text) !== undefined, 'should be HOST:PORT, for example 127.0.0.1:7600'),
);

/** Text that a rule of crdt/limits.ts accepts. */
const ruled = (problem: (value: unknown) => string | undefined) =>
  v.pipe(
    v.string('should be text'),
    v.check(
      (text) => problem(text) === undefined,
      (issue) => problem(issue.input) ?? '',
    ),
  );

const schema = v.strictObject(
  {
    dataDir: v.pipe(v.string('should be a path'), v.startsWith('/', 'should be an absolute path')),
    name: v.optional(
      v.pipe(
        v.string('should be a name'),
        v.regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'should be up to 63 lower-case letters, digits and dashes'),
      ),
    ),
    join: v.optional(v.pipe(v.string('should be an invite'), v.minLength(1, 'is empty'))),
    listen: v.optional(listenAddress),
    link: v.optional(listenAddress),
    api: v.optional(listenAddress),
    http: v.optional(listenAddress),
    advertise: v.optional(
      v.pipe(
        v.string('should be a host'),
        v.regex(/^[A-Za-z0-9.:_-]{1,253}$/, 'should be a host name or an IP address'),
      ),
    ),
    runtime: v.optional(v.picklist(['auto', 'docker', 'process'], 'should be auto, docker or process')),
    memoryBytes: v.optional(
      v.pipe(
        v.number('should be a number of bytes'),
        v.safeInteger('should be a whole number of bytes'),
        v.minValue(MEMORY_BYTES_MIN, 'should be at least 16M'),
      ),
    ),
    blobsBytes: v.optional(
      v.pipe(
        v.number('should be a number of bytes'),
        v.safeInteger('should be a whole number of bytes'),
        v.minValue(BLOBS_BYTES_MIN, 'should be at least 1M'),
      ),
    ),
    domain: v.optional(
      v.pipe(
        v.string('should be a domain'),
        v.regex(
          /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/,
          'should be a domain in lower case, for example apps.example.org',
        ),
      ),
    ),
    labels: v.optional(
      v.pipe(
        v.record(ruled(labelKeyProblem), ruled(labelValueProblem), 'should be an object'),
        v.check(
          (labels) => labelCountProblem(Object.keys(labels).length) === undefined,
          (issue) => labelCountProblem(Object.keys(issue.input).length) ?? '',
        ),
      ),
    ),
    unlock: v.optional(
      v.pipe(
        v.string('should be a passphrase'),
        v.minLength(PASSPHRASE_CHARS_MIN, `should have at least ${PASSPHRASE_CHARS_MIN} characters`),
      ),
    ),
    insecureProcessRuntime: v.optional(v.boolean('should be true or false')),
    allowNetworks: v.optional(
      v.pipe(
        v.array(
          v.pipe(
            v.string('should be a network'),
            v.check(
              (text) => parseNetwork(text) !== undefined,
              (issue) =>
                `should be an IPv4 network such as 10.1.0.0/16, not ${JSON.stringify(String(issue.input).slice(0, 50))}`,
            ),
            v.transform((text) => parseNetwork(text)!),
          ),
        ),
        v.check(
          (networks) => networks.length <= ALLOW_NETWORKS_MAX,
          `should be at most ${ALLOW_NETWORKS_MAX} networks`,
        ),
      ),
    ),
  },
  (issue) =>
    issue.expected === 'never'
      ? 'is not an option'
      : issue.received === 'undefined'
        ? 'is missing'
        : 'should be an object',
);

/**
 * Validates what the CLI passed and completes it: what is given wins, then what the last start on the data directory
 * remembered, then the defaults. An invite is never remembered. Fails with OptionsError.
 */
export function parseStartOptions(input: unknown, remembered: Partial<StartOptions> = {}): NodeOptions {
  const given = validated(input);
  const { join: _, unlock: __, labels, ...earlier } = remembered;
  return {
    ...START_DEFAULTS,
    name: nodeNameOf(hostname()),
    labels: rememberedLabels(labels),
    insecureProcessRuntime: false,
    allowNetworks: [],
    ...validated({ ...earlier, dataDir: given.dataDir }),
    ...given,
  };
}

/**
 * Earlier versions had another rule for the labels of a start, and remember what it let through: a node does not lose
 * its zone by an upgrade. Values are told on one line.
 */
function rememberedLabels(labels: unknown): Record<string, string> {
  if (typeof labels !== 'object' || labels === null) return {};
  const kept = Object.entries(labels).filter(
    ([key, value]) => OLDER_LABEL_KEY.test(key) && typeof value === 'string',
  ) as [string, string][];
  return Object.fromEntries(
    kept.slice(0, LABELS_PER_NODE_MAX).map(([key, value]) => [key, oneLine(value, OLDER_LABEL_CHARS_MAX)]),
  );
}

function validated(input: unknown): StartOptions {
  const parsed = v.safeParse(schema, input);
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  // The path may hold what was given as a key.
  throw new OptionsError(oneLine(`${v.getDotPath(issue) ?? 'options'} ${issue.message}`, MESSAGE_CHARS_MAX));
}

/** A host's name as a node's name: its first label, in the characters a name may have. */
export function nodeNameOf(host: string): string {
  const name = (host.split('.')[0] ?? '')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, NODE_NAME_CHARS_MAX)
    .replace(/^-+|-+$/g, '');
  return name === '' ? 'node' : name;
}
