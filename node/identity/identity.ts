// The node's identity: one Ed25519 key on disk, from which its id and its certificate follow. Never replaces a key it
// cannot read, because a node with another key is another node.

import { chmod, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from '@libp2p/crypto/keys';
import writeFileAtomic from 'write-file-atomic';
import type { NodeId } from '../../crdt/ids.ts';
import { selfSignedCertificate } from './certificate.ts';
import { isLocked, lockedKey, unlockedKey } from './locked-key.ts';
import { nodeIdOfPublicKey } from './node-id.ts';

export { nodeIdOfCertificate, nodeIdOfPublicKey } from './node-id.ts';

type Ed25519PrivateKey = Extract<ReturnType<typeof privateKeyFromProtobuf>, { type: 'Ed25519' }>;

/** Private key and self-signed certificate for the link. Secret: never log it. */
export type TlsIdentity = { keyPem: string; certPem: string };
export type Identity = { nodeId: NodeId; privateKey: Ed25519PrivateKey; tls: TlsIdentity };

/**
 * `identity_unreadable`: the key file is there but cannot be read or is no Ed25519 key. `identity_locked`: it is under
 * a passphrase, and this is none or another. Nothing was changed.
 */
export class IdentityError extends Error {
  readonly code: 'identity_unreadable' | 'identity_locked';
  constructor(code: IdentityError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export const IDENTITY_FILE = 'identity.key';
const ED25519_SEED_BYTES = 32;

/**
 * Reads `dir/identity.key`, or makes it (libp2p's protobuf, mode 0600, written atomically). With a passphrase it lies
 * there locked; one that lies there in clear is locked now, and from then on every start needs the passphrase.
 */
export async function loadOrCreateIdentity(dir: string, passphrase?: string): Promise<Identity> {
  const path = join(dir, IDENTITY_FILE);
  const stored = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    const message = `The node's key ${path} cannot be read (${error.message}). Check its owner and mode.`;
    throw new IdentityError('identity_unreadable', message, { cause: error });
  });
  if (stored) {
    await chmod(path, 0o600);
    if (isLocked(stored)) return identityOf(decode(await unlocked(stored, path, passphrase), path));
    const found = decode(stored, path);
    if (passphrase !== undefined) await write(path, found, passphrase);
    return identityOf(found);
  }
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const key = await generateKeyPair('Ed25519');
  await write(path, key, passphrase);
  return identityOf(key);
}

async function write(path: string, key: Ed25519PrivateKey, passphrase: string | undefined): Promise<void> {
  const bytes = Buffer.from(privateKeyToProtobuf(key));
  await writeFileAtomic(path, passphrase === undefined ? bytes : await lockedKey(bytes, passphrase), { mode: 0o600 });
}

async function unlocked(stored: Uint8Array, path: string, passphrase: string | undefined): Promise<Uint8Array> {
  const found = passphrase === undefined ? undefined : await unlockedKey(stored, passphrase);
  if (found !== undefined) return found;
  const why = passphrase === undefined ? 'is locked' : 'does not open with this passphrase, or is damaged';
  throw new IdentityError(
    'identity_locked',
    `The node's key ${path} ${why}: start with its passphrase (peer start --unlock prompt, file:PATH or credential:NAME).`,
  );
}

function decode(stored: Uint8Array, path: string): Ed25519PrivateKey {
  const unreadable = (cause?: unknown) =>
    new IdentityError(
      'identity_unreadable',
      `The node's key ${path} is damaged or no Ed25519 key. Restore it from a backup, or move it away to start as a new node.`,
      { cause },
    );
  let key: ReturnType<typeof privateKeyFromProtobuf>;
  try {
    key = privateKeyFromProtobuf(stored);
  } catch (error) {
    throw unreadable(error);
  }
  if (key.type !== 'Ed25519') throw unreadable();
  return key;
}

/** The private key itself, 32 bytes: what else the node keeps to itself is derived from it. Secret. */
export const seedOf = ({ privateKey }: Pick<Identity, 'privateKey'>): Uint8Array =>
  privateKey.raw.subarray(0, ED25519_SEED_BYTES);

function identityOf(privateKey: Ed25519PrivateKey): Identity {
  const nodeId = nodeIdOfPublicKey(privateKey.publicKey.raw);
  return { nodeId, privateKey, tls: selfSignedCertificate(seedOf({ privateKey }), nodeId) };
}
