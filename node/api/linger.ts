// A refusal that is sent while its request still comes in: whoever closes a connection with bytes unread resets it,
// and the client, which writes into it, sees the reset and not why it was refused.

const LINGER_MAX_MS = 2_000;
const LINGER_BYTES_MAX = 16 * 1024 ** 2;

/** Takes and drops a body that nobody has begun to read, so much of it as the bounds allow. Never fails. */
export async function dropBody({ body }: Request): Promise<void> {
  if (body === null || body.locked) return;
  const reader = body.getReader();
  const late = Promise.withResolvers<{ done: true; value?: undefined }>();
  const timer = setTimeout(() => late.resolve({ done: true }), LINGER_MAX_MS);
  try {
    for (let bytes = 0; bytes < LINGER_BYTES_MAX; ) {
      const { done, value } = await Promise.race([reader.read(), late.promise]);
      if (done) return;
      bytes += value.length;
    }
  } catch {
    // The client closed the connection: there is nothing left to wait for.
  } finally {
    clearTimeout(timer);
  }
}
