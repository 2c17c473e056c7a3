/** OpenSSL for this thread: bound once, tried once, and with it what all its connections share. */
import { Alpn } from "./alpn.ts";
import { addressOf, bind, type Address, type Bindings } from "./bindings.ts";
import { CiphertextPath } from "./ciphertext-path.ts";
import { LentOctets } from "./lent-octets.ts";
import { VERSION_NUMBER } from "./constants.ts";
import { selfTest } from "./self-test.ts";
import { TlsError } from "./tls-error.ts";
import { VerifiedChains } from "./verified-chains.ts";

export interface OpenSsl {
  readonly calls: Bindings;
  readonly path: CiphertextPath;
  readonly octets: LentOctets;
  readonly alpn: Alpn;
  readonly chains: VerifiedChains;
  /** For what OpenSSL tells by pointer: four words of eight octets, of no meaning between two calls. */
  readonly words: Uint32Array;
  /** The same memory. */
  readonly wide: BigUint64Array;
  readonly wordsAt: Address;
  /** For what is put together or copied on; of no meaning between two calls. */
  readonly staging: Buffer;
  readonly stagingAt: Address;
}

/**
 * What core/tls works on, or why there is none here; TLS is then to be had from node:tls alone. The first call on a thread takes some
 * milliseconds, later ones give the same answer.
 */
export function loadOpenSsl(): OpenSsl | TlsError {
  loaded ??= load();
  return loaded;
}

function load(): OpenSsl | TlsError {
  try {
    const calls = bind();
    const version = calls.versionText(VERSION_NUMBER);
    if (!isOurs(version, process.versions.openssl)) {
      return unusable(`OpenSSL is ${version}, and Node's own ${String(process.versions.openssl)}`);
    }
    const memory = new ArrayBuffer(256);
    const staging = Buffer.allocUnsafeSlow(16 << 10);
    const stagingAt = addressOf(staging.buffer);
    const scratch = new ArrayBuffer(128);
    const openssl = {
      calls,
      path: new CiphertextPath(calls),
      octets: new LentOctets(),
      alpn: new Alpn(calls),
      chains: new VerifiedChains(calls, staging, stagingAt, scratch, addressOf(scratch)),
      words: new Uint32Array(memory),
      wide: new BigUint64Array(memory, 0, 4),
      wordsAt: addressOf(memory),
      staging,
      stagingAt,
    };
    const fault = selfTest(openssl);
    calls.clearErrors();
    return fault === undefined ? openssl : unusable(fault);
  } catch (thrown) {
    return unusable(thrown instanceof Error ? thrown.message : String(thrown));
  }
}

/** Node may name a variant behind the number: 3.5.8+quic. */
function isOurs(version: string, nodes: string | undefined): boolean {
  return nodes !== undefined && (nodes === version || nodes.startsWith(`${version}+`));
}

function unusable(detail: string): TlsError {
  return new TlsError({ code: "tls.unusable", detail });
}

let loaded: OpenSsl | TlsError | undefined;
