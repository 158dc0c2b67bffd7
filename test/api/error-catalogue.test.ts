// The catalogue of errors, the code that raises them, the API's answers and the documentation say the same.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CliError } from '../../cli/errors.ts';
import type { ChangeRejectedCode, StoreErrorCode } from '../../crdt/errors.ts';
import type { InviteError } from '../../node/admission/invite.ts';
import type { ClusterStateError } from '../../node/admission/open-cluster.ts';
import { failureOf } from '../../node/api/errors.ts';
import { renderErrors } from '../../node/api/errors-document.ts';
import type { BlobErrorCode } from '../../node/blobs/errors.ts';
import type { DataDirError } from '../../node/daemon/data-dir.ts';
import { type GossipErrorCode, RemoteError } from '../../node/gossip/errors.ts';
import { ERRORS, type ErrorCode, type ErrorEntry } from '../../node/ports/error-catalogue.ts';
import type { RouterErrorCode } from '../../node/router/errors.ts';
import type { RuntimeErrorCode } from '../../node/runtime/errors.ts';
import type { SessionError } from '../../node/sessions/errors.ts';
import type { StagingErrorCode } from '../../node/staging/errors.ts';
import type { VolumeErrorCode } from '../../node/volumes/errors.ts';
import { ROOT } from '../cli/peer.ts';

/** Checked by the compiler: a code that an error may carry, and that the catalogue does not have, fails here. */
const raised: Record<
  | ChangeRejectedCode
  | StoreErrorCode
  | InviteError['code']
  | ClusterStateError['code']
  | BlobErrorCode
  | DataDirError['code']
  | GossipErrorCode
  | RouterErrorCode
  | RuntimeErrorCode
  | SessionError['code']
  | StagingErrorCode
  | VolumeErrorCode,
  ErrorEntry
> = ERRORS;

/** Of the router's processes among themselves: the daemon puts them into words of its own. */
const INTERNAL = ['wrong_identity', 'refused', 'bad_reply', 'reply_too_large', 'failed'];

const sources = ['node', 'crdt'].flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.endsWith('error-catalogue.ts'))
    .map((file) => ({ file: `${folder}/${file}`, text: readFileSync(join(ROOT, folder, file), 'utf8') })),
);

describe('the catalogue of errors', () => {
  it('has every code that an error may carry', () => {
    expect(Object.keys(raised).length).toBeGreaterThan(0);
    const made = /new \w*(?:Error|Rejected|Refused)\(\s*'([a-z_]+)'|readonly code = '([a-z_]+)'/g;
    for (const { file, text } of sources) {
      for (const [, first, second] of text.matchAll(made)) {
        const code = first ?? second!;
        if (!INTERNAL.includes(code)) expect(Object.keys(ERRORS), `${code} of ${file}`).toContain(code);
      }
    }
  });

  it('has no code that nothing can fail with', () => {
    const text = sources.map((source) => source.text).join('\n');
    for (const code of Object.keys(ERRORS)) expect(text, code).toContain(`'${code}'`);
  });

  it.each(Object.entries<ErrorEntry>(ERRORS).filter(([, { status }]) => status !== undefined))(
    'is what the API answers %s by',
    (code, { status, changed, retry }) => {
      const failure = failureOf(Object.assign(new Error('no'), { code, mayHold: changed === 'perhaps' }));
      expect(failure).toMatchObject({ status, code, message: 'no', retry });
      expect(failure?.mayHold ?? false).toBe(changed === 'perhaps');
    },
  );

  it.each(Object.entries<ErrorEntry>(ERRORS).filter(([, { status }]) => status !== undefined))(
    'is what the command line exits with for %s',
    (code, { exit }) => {
      expect(new CliError(code, 'no').exitStatus).toBe(exit);
    },
  );

  it('tells failures of the server from those of the request', () => {
    const isServers = (code: ErrorCode) => (ERRORS[code].status ?? 0) >= 500;
    for (const code of ['not_replicated', 'droplet_not_replicated', 'disk_full', 'no_room', 'droplet_missing'] as const)
      expect(isServers(code), code).toBe(true);
    for (const code of ['compile_failed', 'invalid_route', 'too_large'] as const)
      expect(isServers(code), code).toBe(false);
  });

  it('lets an error of a newer node pass, and says nothing of one that nobody foresaw', () => {
    expect(failureOf(new RemoteError('of_the_future', 'no'))).toMatchObject({ status: 502, code: 'of_the_future' });
    expect(failureOf(Object.assign(new Error('no'), { code: 'ECONNRESET' }))).toBeUndefined();
    expect(failureOf(Object.assign(new Error('no'), { code: 'of_nobody' }))).toBeUndefined();
    expect(failureOf(new Error('no'))).toBeUndefined();
  });

  it('is what the documentation says', () => {
    expect(readFileSync(join(ROOT, 'node/api/ERRORS.md'), 'utf8')).toBe(renderErrors());
  });
});
