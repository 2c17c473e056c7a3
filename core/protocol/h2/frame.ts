/** HTTP/2 frames by number (RFC 9113 4 and 6). */

export const frameTypes = {
  DATA: 0x0,
  HEADERS: 0x1,
  PRIORITY: 0x2,
  RST_STREAM: 0x3,
  SETTINGS: 0x4,
  PUSH_PROMISE: 0x5,
  PING: 0x6,
  GOAWAY: 0x7,
  WINDOW_UPDATE: 0x8,
  CONTINUATION: 0x9,
  ALTSVC: 0xa,
  ORIGIN: 0xc,
} as const;

export const flags = { END_STREAM: 0x1, ACK: 0x1, END_HEADERS: 0x4, PADDED: 0x8, PRIORITY: 0x20 } as const;

/** Octets of a frame's header. */
export const frameHeaderSize = 9;

/** 2^31-1: the largest window, and the largest stream id. */
export const largest31 = 0x7fff_ffff;

/** What every HTTP/2 connection begins with (RFC 9113 3.4): sent by the client, before its SETTINGS. */
export const clientPreface: Uint8Array = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");
