/**
 * Whether OpenSSL does here what we rely on: two ends shake hands, without certificates and by a suite that nobody else may use, and send
 * each other something longer than a record; then one of them is told off. A signature that does not fit shows at the start, and not in
 * somebody's connection.
 */
import type { Bindings, Ssl, SslCtx } from "./bindings.ts";
import {
  CTX_MAX_VERSION,
  FAILED_READ,
  LIBRARY_SSL,
  libraryOf,
  REASON_ALERTS,
  reasonOf,
  versions,
} from "./constants.ts";
import type { OpenSsl } from "./openssl.ts";

/** @returns what is wrong. */
export function selfTest(openssl: OpenSsl): string | undefined {
  const { calls, path } = openssl;
  calls.clearErrors();
  const ctx = calls.ctxNew(calls.method());
  const ends: Ssl[] = [];
  try {
    if (!isAnonymous(calls, ctx)) return "no suite to try";
    for (let count = 0; count < 2; count++) {
      const ssl = calls.sslNew(ctx);
      path.attach(ssl);
      ends.push(ssl);
    }
    const [client, server] = ends as [Ssl, Ssl];
    calls.sslConnects(client);
    calls.sslAccepts(server);
    return (
      handshakeFault(openssl, client, server) ??
      carriesFault(openssl, client, server) ??
      carriesFault(openssl, server, client) ??
      alertFault(openssl, ctx)
    );
  } finally {
    path.clean();
    for (const ssl of ends) calls.sslFree(ssl);
    calls.ctxFree(ctx);
  }
}

function isAnonymous(calls: Bindings, ctx: SslCtx): boolean {
  return (
    ctx !== 0 &&
    calls.ctxCtrl(ctx, CTX_MAX_VERSION, versions["TLSv1.2"], 0) === 1 &&
    calls.ctxOldSuites(ctx, "AECDH-AES128-SHA:@SECLEVEL=0") === 1
  );
}

function handshakeFault(openssl: OpenSsl, client: Ssl, server: Ssl): string | undefined {
  const { calls, path } = openssl;
  let flight: Buffer = Buffer.alloc(0);
  let result = 0;
  for (const ssl of [client, server, client, server, client]) {
    if (flight.length > 0) path.load(flight);
    result = calls.handshake(ssl);
    if (result !== 1 && calls.failure(ssl, result) !== FAILED_READ) return "no handshake";
    path.finished();
    flight = drain(openssl);
  }
  return result === 1 && calls.version(client) === "TLSv1.2" ? undefined : "an unfinished handshake";
}

function carriesFault(openssl: OpenSsl, from: Ssl, to: Ssl): string | undefined {
  const { calls, path, octets, words, wordsAt } = openssl;
  const sent = Buffer.alloc(40_000, "self-test");
  if (calls.write(from, sent, sent.length, wordsAt) !== 1 || words[0] !== sent.length) return "no write";
  path.load(drain(openssl));
  const into = octets.room(50_000);
  let got = 0;
  let result: number;
  while ((result = calls.read(to, into + got, 50_000 - got, wordsAt)) === 1) got += words[0];
  if (calls.failure(to, result) !== FAILED_READ) return "no read";
  path.finished();
  const received = octets.take(got);
  octets.release(received);
  return received.equals(sent) ? undefined : "other octets than were sent";
}

/** What a peer says in breaking off must be told from everything else. */
function alertFault(openssl: OpenSsl, ctx: SslCtx): string | undefined {
  const { calls, path } = openssl;
  const ssl = calls.sslNew(ctx);
  path.attach(ssl);
  calls.sslConnects(ssl);
  calls.handshake(ssl);
  drain(openssl);
  const handshakeFailure = 40;
  path.load(Buffer.from([0x15, 0x03, 0x03, 0x00, 0x02, 0x02, handshakeFailure]));
  calls.handshake(ssl);
  const error = calls.nextError();
  calls.clearErrors();
  path.unload();
  calls.sslFree(ssl);
  const isTold = libraryOf(error) === LIBRARY_SSL && reasonOf(error) === REASON_ALERTS + handshakeFailure;
  return isTold && calls.errorReason(error) !== null ? undefined : "an alert that says something else";
}

function drain({ path, octets }: OpenSsl): Buffer {
  const got = path.drain(octets.room(most), most);
  const taken = octets.take(Math.max(got, 0));
  const copy = Buffer.from(taken);
  octets.release(taken);
  return copy;
}

const most = 64 << 10;
