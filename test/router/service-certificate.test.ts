import { X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { authorityFingerprint, serverCertificate, serviceAuthority } from '../../node/identity/service-certificate.ts';

const SERVICE = '22222222-2222-4222-8222-222222222222';
const authority = (secret = 'secret', service = SERVICE) => new X509Certificate(serviceAuthority(secret, service));
const server = (...names: [string, ...string[]]) =>
  new X509Certificate(serverCertificate('secret', { service: SERVICE, names }).certPem);

describe('the authority of a service', () => {
  it('vouches for its servers, however often it is made anew, and another never does', () => {
    const certificate = server('db.service.internal');
    for (const one of [authority(), authority()]) {
      expect(certificate.checkIssued(one)).toBe(true);
      expect(certificate.verify(one.publicKey)).toBe(true);
      expect(one.ca).toBe(true);
    }
    expect(certificate.ca).toBe(false);
    expect(certificate.verify(authority('another').publicKey)).toBe(false);
    expect(certificate.checkIssued(authority('secret', SERVICE.replace('2', '3')))).toBe(false);
  });

  it('is known by its key, which says nothing of the secret', () => {
    expect(authorityFingerprint('secret', SERVICE)).toMatch(/^[0-9a-f]{64}$/);
    expect(authorityFingerprint('secret', SERVICE)).toBe(authorityFingerprint('secret', SERVICE));
    expect(authorityFingerprint('another', SERVICE)).not.toBe(authorityFingerprint('secret', SERVICE));
    expect(serviceAuthority('secret', SERVICE)).not.toContain('secret');
  });
});

describe('the certificate of a server', () => {
  it('holds for its name and for addresses, however they are written', () => {
    const certificate = server(
      'db.service.internal',
      '192.168.1.5',
      '2001:DB8::1',
      '::ffff:10.0.0.1',
      'fe80::7%eth0',
      '::',
    );
    expect(certificate.checkHost('db.service.internal')).toBe('db.service.internal');
    expect(certificate.checkHost('other.service.internal')).toBeUndefined();
    for (const address of ['192.168.1.5', '2001:db8::1', '::ffff:10.0.0.1', 'fe80::7', '::']) {
      expect(certificate.checkIP(address), address).toBe(address);
    }
    expect(certificate.checkIP('192.168.1.6')).toBeUndefined();
  });
});
