/** How long an HTTP/1.1 answer is, head and body: for clients that count instead of parse. */

/** @returns undefined while the head is not whole; a sentence where it is no success or doesn't say its length. */
export function answerLength(bytes: Uint8Array): number | string | undefined {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const head = text.slice(0, end + 2);
  const [status = ""] = head.split("\r\n");
  if (!/^HTTP\/1\.1 200\b/.test(status)) return `the server answered "${status}"`;
  const [, length] = /\r\ncontent-length:\s*(\d+)\r\n/i.exec(head) ?? [];
  return length === undefined ? "the server did not say how long its answer is" : end + 4 + Number(length);
}
