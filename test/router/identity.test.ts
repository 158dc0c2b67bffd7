import { X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateKeyPair } from '@libp2p/crypto/keys';
import { peerIdFromPrivateKey } from '@libp2p/peer-id';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  IDENTITY_FILE,
  IdentityError,
  loadOrCreateIdentity,
  nodeIdOfCertificate,
  nodeIdOfPublicKey,
} from '../../node/identity/identity.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'peer-identity-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

describe('identity', () => {
  it('is made once, for the owner only, and found again', async () => {
    const nested = join(dir, 'data');
    const made = await loadOrCreateIdentity(nested);
    expect((await stat(join(nested, IDENTITY_FILE))).mode & 0o777).toBe(0o600);
    const found = await loadOrCreateIdentity(nested);
    expect(found.nodeId).toBe(made.nodeId);
    expect(found.tls).toEqual(made.tls);
    expect(made.nodeId).toMatch(/^12D3KooW/);
  });

  it('has the peer id that libp2p gives its key', async () => {
    const { nodeId, privateKey } = await loadOrCreateIdentity(dir);
    expect(nodeId).toBe(peerIdFromPrivateKey(privateKey).toString());
    for (let n = 0; n < 20; n++) {
      const key = await generateKeyPair('Ed25519');
      expect(nodeIdOfPublicKey(key.publicKey.raw)).toBe(peerIdFromPrivateKey(key).toString());
    }
  });

  it('has a certificate from which its id follows', async () => {
    const { nodeId, tls } = await loadOrCreateIdentity(dir);
    const certificate = new X509Certificate(tls.certPem);
    expect(certificate.verify(certificate.publicKey)).toBe(true);
    expect(certificate.subject).toBe(`CN=${nodeId}`);
    expect(certificate.validToDate.getUTCFullYear()).toBe(9999);
    expect(nodeIdOfCertificate(certificate)).toBe(nodeId);
    expect(nodeIdOfCertificate(certificate.raw)).toBe(nodeId);
    expect(nodeIdOfCertificate({ raw: certificate.raw })).toBe(nodeId);
  });

  it('reads no id from anything else', () => {
    expect(nodeIdOfCertificate(Buffer.from('no certificate'))).toBeUndefined();
    expect(nodeIdOfCertificate({} as { raw: Buffer })).toBeUndefined();
    expect(nodeIdOfCertificate(Buffer.from(ECDSA_CERTIFICATE, 'base64'))).toBeUndefined();
  });

  it('lies under a passphrase once it was started with one, and opens with no other', async () => {
    const path = join(dir, IDENTITY_FILE);
    const { nodeId, privateKey } = await loadOrCreateIdentity(dir);
    const seed = Buffer.from(privateKey.raw.subarray(0, 32));
    expect((await readFile(path)).includes(seed)).toBe(true);
    expect((await loadOrCreateIdentity(dir, 'correct horse')).nodeId).toBe(nodeId);
    const locked = await readFile(path);
    expect(locked.includes(seed)).toBe(false);
    expect((await loadOrCreateIdentity(dir, 'correct horse')).nodeId).toBe(nodeId);
    for (const passphrase of [undefined, 'wrong horse']) {
      await expect(loadOrCreateIdentity(dir, passphrase)).rejects.toMatchObject({
        code: 'identity_locked',
        message: expect.stringContaining('peer start --unlock'),
      });
    }
    const damaged = [0, locked.length >> 1, locked.length - 1].map((at) => {
      const bytes = Buffer.from(locked);
      bytes[at]! ^= 1;
      return bytes;
    });
    for (const bytes of [...damaged, locked.subarray(0, 30)]) {
      await writeFile(path, bytes);
      await expect(loadOrCreateIdentity(dir, 'correct horse')).rejects.toThrow(IdentityError);
      expect((await readFile(path)).equals(bytes)).toBe(true);
    }
  });

  it('is never replaced when it cannot be read', async () => {
    await writeFile(join(dir, IDENTITY_FILE), 'damaged');
    await expect(loadOrCreateIdentity(dir)).rejects.toMatchObject({ code: 'identity_unreadable' });
    expect(await readFile(join(dir, IDENTITY_FILE), 'utf8')).toBe('damaged');
  });
});

/** Self-signed, ECDSA P-256. */
const ECDSA_CERTIFICATE =
  'MIIBbjCCARWgAwIBAgIUOOwNpeFTnDGvFskUY8BgYtfbI5UwCgYIKoZIzj0EAwIwDDEKMAgGA1UEAwwBeDAgFw0yNjExMjIyMDI1MThaGA8yMTI2MTAyOTIwMjUxOFowDDEKMAgGA1UEAwwBeDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABPaCOMCl0SuD/5pVrpnAaGCqQcbvy3AjiHf35+2IpuH0cU1hX+FUUTx+DcMXsXfMdzE8/FOM60UVcyngv7ioBA2jUzBRMB0GA1UdDgQWBBQvh4QmaBab8hwrhedqwbYCi5dZ+jAfBgNVHSMEGDAWgBQvh4QmaBab8hwrhedqwbYCi5dZ+jAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCICmG3tZI8DweYUl0Kc04D0pyRcWlGuOv0TOVIqVJu3iEAiBXpMvaURY7xZg8O4cqguSp/MTlGFIGODSXz3mlGkfTPA==';
