// The certificates of a service: an authority of its own, whose key follows from the service's secret, so that every
// node of the cluster has the same and nothing is stored; and certificates for servers, signed by it, with keys of
// their own. Made anew, the authority's certificate has another signature and is as good: what counts is its key.

import { isIP } from 'node:net';
import { ALWAYS, certificatePem, der, nameOf, TAG, TAG_VERSION } from './certificate.ts';

const { createECDH, createHash, createPrivateKey, createPublicKey, generateKeyPairSync, hkdfSync, randomBytes, sign } =
  process.getBuiltinModule('node:crypto');

type KeyObject = ReturnType<typeof createPrivateKey>;
export type ServerCertificate = { keyPem: string; certPem: string };

/** P-256: PostgreSQL's clients cannot bind a login to a connection whose certificate is signed with Ed25519. */
const CURVE = 'prime256v1';
const SCALAR_BYTES = 32;
/** ecdsa-with-SHA256. @see RFC 5758, section 3.2 */
const ECDSA_SHA256 = Buffer.from('300a06082a8648ce3d040302', 'hex');
const TAG_EXTENSIONS = 0xa3;
const TAG_KEY_ID = 0x80;
const TAG_DNS_NAME = 0x82;
const TAG_IP_ADDRESS = 0x87;
/** Object identifiers of extensions. @see RFC 5280, section 4.2.1 */
const OID = {
  subjectKeyId: Buffer.from('0603551d0e', 'hex'),
  keyUsage: Buffer.from('0603551d0f', 'hex'),
  subjectAltName: Buffer.from('0603551d11', 'hex'),
  basicConstraints: Buffer.from('0603551d13', 'hex'),
  authorityKeyId: Buffer.from('0603551d23', 'hex'),
} as const;
const TRUE = der(TAG.boolean, Buffer.from([0xff]));
/** keyCertSign, and digitalSignature, as bits from the left. */
const SIGNS_CERTIFICATES = der(TAG.bitString, Buffer.from([2, 0x04]));
const SIGNS = der(TAG.bitString, Buffer.from([7, 0x80]));

/** What clients that are to trust the service are given, as PEM. */
export function serviceAuthority(secret: string, service: string): string {
  const { key, name } = authorityOf(secret, service);
  const extensions = [
    extension(OID.basicConstraints, der(TAG.sequence, TRUE), true),
    extension(OID.keyUsage, SIGNS_CERTIFICATES, true),
    extension(OID.subjectKeyId, der(TAG.octetString, keyId(key))),
  ];
  return certificatePem(certificate({ subject: name, key, issuer: name, signer: key, extensions }));
}

/** For one server of it. `names`: hosts and addresses that clients may know it by; the first is its common name. */
export function serverCertificate(
  secret: string,
  { service, names }: { service: string; names: readonly [string, ...string[]] },
): ServerCertificate {
  const { key: signer, name: issuer } = authorityOf(secret, service);
  const { privateKey: key } = generateKeyPairSync('ec', { namedCurve: CURVE });
  const extensions = [
    extension(OID.basicConstraints, der(TAG.sequence), true),
    extension(OID.keyUsage, SIGNS, true),
    extension(OID.subjectAltName, der(TAG.sequence, ...names.map(alternativeName))),
    extension(OID.subjectKeyId, der(TAG.octetString, keyId(key))),
    extension(OID.authorityKeyId, der(TAG.sequence, der(TAG_KEY_ID, keyId(signer)))),
  ];
  return {
    keyPem: key.export({ format: 'pem', type: 'pkcs8' }).toString(),
    certPem: certificatePem(certificate({ subject: nameOf(names[0]), key, issuer, signer, extensions })),
  };
}

/** Of the authority's public key, in hex: the same however often its certificate is made. */
export const authorityFingerprint = (secret: string, service: string): string =>
  createHash('sha256')
    .update(publicOf(authorityOf(secret, service).key))
    .digest('hex');

function authorityOf(secret: string, service: string): { key: KeyObject; name: Buffer } {
  return { key: authorityKey(secret, service), name: nameOf(`Peer service ${service}`) };
}

function authorityKey(secret: string, service: string): KeyObject {
  const ecdh = createECDH(CURVE);
  const scalar = Buffer.from(hkdfSync('sha256', secret, '', `peer service authority ${service}`, SCALAR_BYTES));
  // Of 2^256 numbers all but one in 2^32 are scalars of the curve; the topmost bit left out, all are.
  scalar[0] = scalar[0]! & 0x7f;
  ecdh.setPrivateKey(scalar);
  const point = ecdh.getPublicKey();
  return createPrivateKey({
    format: 'jwk',
    key: {
      kty: 'EC',
      crv: 'P-256',
      d: scalar.toString('base64url'),
      x: point.subarray(1, 1 + SCALAR_BYTES).toString('base64url'),
      y: point.subarray(1 + SCALAR_BYTES).toString('base64url'),
    },
  });
}

type Certified = { subject: Buffer; key: KeyObject; issuer: Buffer; signer: KeyObject; extensions: Buffer[] };

function certificate({ subject, key, issuer, signer, extensions }: Certified): Buffer {
  const serial = randomBytes(16);
  // Positive, and without a leading zero byte.
  serial[0] = (serial[0]! & 0x3f) | 0x40;
  const toBeSigned = der(
    TAG.sequence,
    der(TAG_VERSION, der(TAG.integer, Buffer.from([2]))),
    der(TAG.integer, serial),
    ECDSA_SHA256,
    issuer,
    ALWAYS,
    subject,
    publicOf(key),
    der(TAG_EXTENSIONS, der(TAG.sequence, ...extensions)),
  );
  const signature = sign('sha256', toBeSigned, signer);
  return der(TAG.sequence, toBeSigned, ECDSA_SHA256, der(TAG.bitString, Buffer.concat([Buffer.from([0]), signature])));
}

const publicOf = (key: KeyObject): Buffer => createPublicKey(key).export({ format: 'der', type: 'spki' });
const keyId = (key: KeyObject): Buffer => createHash('sha256').update(publicOf(key)).digest().subarray(0, 20);

const extension = (id: Buffer, value: Buffer, isCritical = false): Buffer =>
  der(TAG.sequence, id, ...(isCritical ? [TRUE] : []), der(TAG.octetString, value));

function alternativeName(name: string): Buffer {
  // A zone says where on this machine an address is.
  const [host = ''] = name.split('%');
  switch (isIP(host)) {
    case 0:
      return der(TAG_DNS_NAME, Buffer.from(host));
    case 4:
      return der(TAG_IP_ADDRESS, Buffer.from(host.split('.').map(Number)));
    default:
      return der(TAG_IP_ADDRESS, ipv6Bytes(host));
  }
}

function ipv6Bytes(address: string): Buffer {
  // Of all ways to write it one: eight groups of hex digits, with the longest run of zeros left out.
  const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [head = '', tail] = canonical.split('::');
  const groups = (text: string): string[] => (text === '' ? [] : text.split(':'));
  const [before, after] = [groups(head), groups(tail ?? '')];
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => '0');
  return Buffer.from([...before, ...zeros, ...after].map((group) => group.padStart(4, '0')).join(''), 'hex');
}
