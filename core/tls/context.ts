/** What all connections of one identity in one role have in common: made once, cached by its owner, and freed once. */
import { type Bindings, type Bio, type SslCtx, type X509 } from "./bindings.ts";
import {
  CTX_ADD_CHAIN_CERTIFICATE,
  CTX_GROUPS,
  CTX_MAX_VERSION,
  CTX_MIN_VERSION,
  CTX_MODE,
  CTX_SESSION_CACHE,
  LIBRARY_PEM,
  libraryOf,
  MODE_MOVING_WRITE,
  MODE_NO_AUTO_CHAIN,
  MODE_PARTIAL_WRITE,
  OP_NO_CERTIFICATE_COMPRESSION,
  OP_SERVER_PREFERENCE,
  REASON_NO_START_LINE,
  reasonOf,
  SESSION_CACHE_OFF,
  VERIFY_PEER,
  VERIFY_REQUIRES_CERTIFICATE,
  versions,
} from "./constants.ts";
import { forgetErrors, takeReason } from "./errors-of.ts";
import type { OpenSsl } from "./openssl.ts";
import { TlsError } from "./tls-error.ts";

/** Plain data, as node:tls would have it: the names differ from `SecureContextOptions` only where those mislead. */
export interface TlsSettings {
  readonly role: "client" | "server";
  /** PEM, leaf first; sent as it is, and nothing is added to it. */
  readonly chain: string;
  /** PEM, not encrypted. */
  readonly key: string;
  /** PEM. The peer's chain must lead to one of these, whole, and serve the peer's role. */
  readonly roots: string;
  readonly minVersion: keyof typeof versions;
  readonly maxVersion: keyof typeof versions;
  /** OpenSSL's names between colons, those of TLS 1.3 among those before. */
  readonly ciphers: string;
  /** OpenSSL's notation (SSL_CTX_set1_groups_list(3)). */
  readonly groups: string;
  /** SSL_OP_ flags, as node:crypto's constants. */
  readonly options: number;
  /** ALPN, most wanted first. */
  readonly protocols: readonly string[];
}

/**
 * Sessions are never kept and tickets never given. Each end must show a certificate; whether it holds is decided within the handshake,
 * and a peer that does not pass is told so by an alert.
 */
export class TlsContext {
  readonly role: TlsSettings["role"];
  readonly #openssl: OpenSsl;
  #ctx: SslCtx;

  private constructor(openssl: OpenSsl, role: TlsSettings["role"], ctx: SslCtx) {
    this.#openssl = openssl;
    this.role = role;
    this.#ctx = ctx;
  }

  /** @returns tls.bad-setting where OpenSSL does not take something: an authority may have issued it. */
  static create(openssl: OpenSsl, settings: TlsSettings): TlsContext | TlsError {
    const { calls } = openssl;
    forgetErrors(calls);
    const ctx = calls.ctxNew(calls.method());
    const setting = ctx === 0 ? "memory" : refused(openssl, ctx, settings);
    if (setting === undefined) return new TlsContext(openssl, settings.role, ctx);
    const reason = takeReason(calls);
    calls.ctxFree(ctx);
    return new TlsError({ code: "tls.bad-setting", setting, reason });
  }

  /** @internal For TlsMachine. */
  get openssl(): OpenSsl {
    return this.#openssl;
  }

  /** @internal For TlsMachine. */
  get handle(): SslCtx {
    if (this.#ctx === 0) throw new Error("a TLS context was used after its release");
    return this.#ctx;
  }

  /** No new connections from here on; those that live hold what they need. Again is nothing. */
  release(): void {
    const ctx = this.#ctx;
    this.#ctx = 0;
    if (ctx !== 0) this.#openssl.calls.ctxFree(ctx);
  }
}

/** @returns which setting it did not take. */
function refused(openssl: OpenSsl, ctx: SslCtx, settings: TlsSettings): string | undefined {
  const { calls, alpn, chains } = openssl;
  const { role, protocols, ciphers, groups, minVersion, maxVersion } = settings;
  const isServer = role === "server";
  calls.ctxCtrl(ctx, CTX_MODE, MODE_PARTIAL_WRITE | MODE_MOVING_WRITE | MODE_NO_AUTO_CHAIN, 0);
  calls.ctxCtrl(ctx, CTX_SESSION_CACHE, SESSION_CACHE_OFF, 0);
  calls.ctxTickets(ctx, 0);
  calls.ctxOptions(ctx, OP_NO_CERTIFICATE_COMPRESSION);
  calls.ctxOptions(ctx, settings.options);
  if (isServer) calls.ctxOptions(ctx, OP_SERVER_PREFERENCE);
  calls.ctxVerify(ctx, isServer ? VERIFY_PEER | VERIFY_REQUIRES_CERTIFICATE : VERIFY_PEER, 0);
  chains.judgeFor(ctx, settings);
  if (calls.ctxCtrl(ctx, CTX_MIN_VERSION, versions[minVersion], 0) !== 1) return "minVersion";
  if (calls.ctxCtrl(ctx, CTX_MAX_VERSION, versions[maxVersion], 0) !== 1) return "maxVersion";
  const names = ciphers.split(":");
  const isOld = (name: string): boolean => !name.startsWith("TLS_");
  if (calls.ctxSuites(ctx, names.filter((name) => !isOld(name)).join(":")) !== 1) return "ciphers";
  if (names.some(isOld) && calls.ctxOldSuites(ctx, names.filter(isOld).join(":")) !== 1) return "ciphers";
  if (calls.ctxCtrlText(ctx, CTX_GROUPS, 0, groups) !== 1) return "groups";
  if (isServer) alpn.choose(ctx, protocols);
  else if (!alpn.offer(ctx, protocols)) return "protocols";
  return (
    withCertificates(calls, settings.chain, (certificate, index) => {
      if (index === 0) return calls.ctxCertificate(ctx, certificate) === 1;
      // larg 1: it takes a reference of its own.
      return calls.ctxCtrl(ctx, CTX_ADD_CHAIN_CERTIFICATE, 1, certificate) === 1;
    }) ??
    withKey(calls, ctx, settings.key) ??
    withCertificates(
      calls,
      settings.roots,
      (certificate) => {
        if (calls.storeAdd(calls.ctxStore(ctx), certificate) !== 1) return false;
        // A client with several certificates finds the one that we would take (RFC 8446 4.2.4).
        return !isServer || calls.ctxNameAuthority(ctx, certificate) === 1;
      },
      "roots",
    )
  );
}

/** Hands over each certificate of a PEM text; it is freed afterwards, and who wants it takes a reference. */
function withCertificates(
  calls: Bindings,
  pem: string,
  use: (certificate: X509, index: number) => boolean,
  setting = "chain",
): string | undefined {
  return overText(calls, pem, (bio) => {
    for (let index = 0; ; index++) {
      const certificate = calls.pemCertificate(bio, 0, 0, noPassword);
      if (certificate === 0) {
        if (index === 0 || !isAtEnd(calls)) return setting;
        calls.clearErrors();
        return undefined;
      }
      const isTaken = use(certificate, index);
      calls.certificateFree(certificate);
      if (!isTaken) return setting;
    }
  });
}

/** It must fit the certificate, which OpenSSL looks at where there is one already. */
function withKey(calls: Bindings, ctx: SslCtx, pem: string): string | undefined {
  return overText(calls, pem, (bio) => {
    const key = calls.pemKey(bio, 0, 0, noPassword);
    if (key === 0) return "key";
    const isTaken = calls.ctxKey(ctx, key) === 1;
    calls.keyFree(key);
    return isTaken ? undefined : "key";
  });
}

function overText<T>(calls: Bindings, text: string, read: (bio: Bio) => T): T {
  const bytes = Buffer.from(text, "latin1");
  const bio = calls.bioOver(bytes, bytes.length);
  try {
    return read(bio);
  } finally {
    calls.bioFree(bio);
    // It may have been a key.
    bytes.fill(0);
  }
}

/** PEM ends with an error of its own where nothing begins any more. */
function isAtEnd(calls: Bindings): boolean {
  const error = calls.peekError();
  return libraryOf(error) === LIBRARY_PEM && reasonOf(error) === REASON_NO_START_LINE;
}

/** Text that ends at once: with none at all OpenSSL would ask for one, at the terminal. */
const noPassword = Buffer.from([0]);
