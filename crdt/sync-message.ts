// Takes apart a message of Automerge's sync protocol to check what it brings before Automerge sees it: Automerge does
// not verify the checksum of everything that it finds in a message. Applies nothing.

import { decodeSyncMessage } from '@automerge/automerge';
import { readChunk } from './chunk.ts';
import { reasonOf, StoreError } from './errors.ts';

/** The first message may hold the whole document. */
export const SYNC_MESSAGE_BYTES_MAX = 32 * 1024 * 1024;

/**
 * The single changes in the message; a whole document in it is checked, but not listed. Throws StoreError
 * `bad_message` or `too_large`.
 */
export function readSyncMessage(message: Uint8Array): Uint8Array[] {
  if (message.length > SYNC_MESSAGE_BYTES_MAX) {
    throw new StoreError(
      'too_large',
      `Another node sent a sync message of ${message.length} bytes; at most ${SYNC_MESSAGE_BYTES_MAX} are read.`,
    );
  }
  try {
    const changes: Uint8Array[] = [];
    for (const bytes of decodeSyncMessage(message).changes) {
      for (let at = 0; at < bytes.length; ) {
        const chunk = readChunk(bytes.subarray(at));
        if (chunk.kind === 'change') changes.push(bytes.slice(at, at + chunk.length));
        at += chunk.length;
      }
    }
    return changes;
  } catch (cause) {
    throw new StoreError(
      'bad_message',
      `Another node sent a sync message that cannot be read (${reasonOf(cause)}); it is ignored.`,
      { cause },
    );
  }
}
