/** What OpenSSL's public headers have as macros (ssl.h, bio.h, err.h, tls1.h of 3.5), under names that say what they do. */

/** OpenSSL_version: the bare number, with Node's own spelling of it. */
export const VERSION_NUMBER = 6;

/** BIO_ctrl. */
export const BIO_RESET = 1;
export const BIO_SET_BUF_MEM = 114;

/** SSL_CTX_ctrl. */
export const CTX_MODE = 33;
export const CTX_SESSION_CACHE = 44;
export const CTX_GROUPS = 92;
export const CTX_ADD_CHAIN_CERTIFICATE = 89;
export const CTX_MIN_VERSION = 123;
export const CTX_MAX_VERSION = 124;

export const SESSION_CACHE_OFF = 0;

/** SSL_MODE_: what may be written in part, from wherever it then is. */
export const MODE_PARTIAL_WRITE = 0x1;
export const MODE_MOVING_WRITE = 0x2;
/** Send the chain as it was given, and do not look for more of it in the roots at every handshake. */
export const MODE_NO_AUTO_CHAIN = 0x8;

/** SSL_OP_: the server's order of suites counts, as Node has it by default. */
export const OP_SERVER_PREFERENCE = 0x40_0000;

/** Of certificates (RFC 8879), both ways: it would be done anew in every handshake and costs as much as all the rest of it. Node has it off. */
export const OP_NO_CERTIFICATE_COMPRESSION = 2 ** 32 + 2 ** 33;

export const VERIFY_PEER = 1;
export const VERIFY_REQUIRES_CERTIFICATE = 2;
/** X509_V_ERR_UNSPECIFIED. */
export const VERIFY_UNSPECIFIED = 1;

export const versions = { "TLSv1.2": 0x0303, "TLSv1.3": 0x0304 } as const;

/** SSL_get_error. */
export const FAILED_READ = 2;
export const FAILED_WRITE = 3;
export const FAILED_ENDED = 6;

/** Of ERR_get_error: which library, and why. */
export const libraryOf = (error: number): number => (error >>> 23) & 0xff;
export const reasonOf = (error: number): number => error & 0x7f_ffff;
export const LIBRARY_SSL = 20;
/** A peer's alert is a reason of this plus the alert's number (RFC 8446 B.2). */
export const REASON_ALERTS = 1_000;
export const REASON_VERIFY_FAILED = 134;
export const REASON_NO_CERTIFICATE = 199;

/** What is left of a PEM text holds nothing more. */
export const LIBRARY_PEM = 9;
export const REASON_NO_START_LINE = 108;

/** Answers to a client's ALPN. */
export const ALPN_CHOSEN = 0;
export const ALPN_FATAL = 2;
/** SSL_select_next_proto: both have it. */
export const PROTOCOL_IN_COMMON = 1;

/** SSL_key_update: of what we send, or of what the peer sends as well. */
export const KEY_UPDATE_OURS = 0;
export const KEY_UPDATE_BOTH = 1;
