// Makes the self-signed X.509 certificate of a node from its Ed25519 key, for the link's TLS. The same key always
// gives the same bytes, so nothing has to be stored. Peers read only the public key in it (node-id.ts): names and
// dates mean nothing.

const { createHash, createPrivateKey, createPublicKey, sign } = process.getBuiltinModule('node:crypto');

/** PKCS #8 header of an Ed25519 private key; the 32-byte seed follows. @see RFC 8410, section 7 */
const PKCS8_ED25519_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
/** AlgorithmIdentifier {1.3.101.112}. @see RFC 8410, section 3 */
const ALGORITHM_ED25519 = Buffer.from('300506032b6570', 'hex');
export const OID_COMMON_NAME = Buffer.from('0603550403', 'hex');
const SERIAL_BYTES = 16;

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  utf8: 0x0c,
  utcTime: 0x17,
  time: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;
export const TAG_VERSION = 0xa0;

/** Validity with no well-defined end: a wrong clock must not keep anyone out. @see RFC 5280, section 4.1.2.5 */
export const ALWAYS = der(
  TAG.sequence,
  der(TAG.utcTime, Buffer.from('200101000000Z')),
  der(TAG.time, Buffer.from('99991231235959Z')),
);

/** `seed` is the Ed25519 private key, 32 bytes. Returns PEM texts for node:tls. */
export function selfSignedCertificate(seed: Uint8Array, commonName: string): { keyPem: string; certPem: string } {
  const privateKey = createPrivateKey({
    key: Buffer.concat([PKCS8_ED25519_PREFIX, seed]),
    format: 'der',
    type: 'pkcs8',
  });
  const publicKey = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  const serial = createHash('sha256').update(publicKey).digest().subarray(0, SERIAL_BYTES);
  // A serial number is positive and has no leading zero byte.
  serial[0] = (serial[0]! & 0x3f) | 0x40;
  const name = nameOf(commonName);
  const toBeSigned = der(
    TAG.sequence,
    der(TAG_VERSION, der(TAG.integer, Buffer.from([2]))),
    der(TAG.integer, serial),
    ALGORITHM_ED25519,
    name,
    ALWAYS,
    name,
    publicKey,
  );
  const signature = sign(null, toBeSigned, privateKey);
  const certificate = der(
    TAG.sequence,
    toBeSigned,
    ALGORITHM_ED25519,
    der(TAG.bitString, Buffer.concat([Buffer.from([0]), signature])),
  );
  return {
    keyPem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    certPem: certificatePem(certificate),
  };
}

export const certificatePem = (certificate: Buffer): string =>
  `-----BEGIN CERTIFICATE-----\n${certificate.toString('base64').replace(/(.{64})(?=.)/g, '$1\n')}\n-----END CERTIFICATE-----\n`;

/** A Name of a common name alone. */
export const nameOf = (commonName: string): Buffer =>
  der(TAG.sequence, der(TAG.set, der(TAG.sequence, OID_COMMON_NAME, der(TAG.utf8, Buffer.from(commonName)))));

export function der(tag: number, ...contents: Uint8Array[]): Buffer {
  const content = Buffer.concat(contents);
  const length =
    content.length < 0x80
      ? [content.length]
      : content.length < 0x100
        ? [0x81, content.length]
        : [0x82, content.length >> 8, content.length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), content]);
}
