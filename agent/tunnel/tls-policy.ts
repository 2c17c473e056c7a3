/** Which TLS is spoken in tunnels: the versions, suites and key exchanges that are offered and taken, the same at both ends. */
import { constants } from "node:crypto";
import type { SecureContextOptions } from "node:tls";

export interface TlsPolicy {
  /**
   * `hybrid-first`: X25519MLKEM768 wherever both ends can, else a classical one. `hybrid-only`: COMPLIANCE_POLICY=pqc.
   * `classical`: AMBIENTD_KEY_EXCHANGE=classical, for comparing with who can't do better.
   */
  readonly keyExchange: "hybrid-first" | "hybrid-only" | "classical";
  /** TLS12_ENABLED: 1.2 as well, with ECDHE and AES-GCM, and everything else as strict as in 1.3. */
  readonly oldest: "TLSv1.2" | "TLSv1.3";
}

export const tlsPolicy: TlsPolicy = { keyExchange: "hybrid-first", oldest: "TLSv1.3" };

/** Those of Node's options that a policy sets; core/tls takes the same. */
export interface PolicyOptions extends SecureContextOptions {
  readonly minVersion: TlsPolicy["oldest"];
  readonly maxVersion: "TLSv1.3";
  readonly ciphers: string;
  /** In OpenSSL's notation. */
  readonly ecdhCurve: string;
  readonly secureOptions: number;
}

export function policyOptions({ keyExchange, oldest }: TlsPolicy): PolicyOptions {
  return {
    minVersion: oldest,
    maxVersion: "TLSv1.3",
    ciphers: oldest === "TLSv1.3" ? suites : `${suites}:${oldSuites}`,
    ecdhCurve: groups[keyExchange],
    // A resumed session would skip the client certificate, and with it revocation, expiry and a removed root. Renegotiation is 1.2's.
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
  };
}

/** @returns a bad setting's name, value and fix where they are not settings. */
export function parseTlsPolicy(
  env: Readonly<Record<string, string | undefined>>,
): TlsPolicy | { readonly variable: string; readonly value: string; readonly fix: string } {
  const { TLS12_ENABLED: tls12 = "", COMPLIANCE_POLICY: compliance = "", AMBIENTD_KEY_EXCHANGE: exchange = "" } = env;
  if (compliance !== "" && compliance !== "pqc") {
    return { variable: "COMPLIANCE_POLICY", value: compliance, fix: 'is not known: write "pqc", or leave it out' };
  }
  if (!["", "true", "1", "false", "0"].includes(tls12)) {
    return { variable: "TLS12_ENABLED", value: tls12, fix: "is neither true nor false: write one of them" };
  }
  const isOld = tls12 === "true" || tls12 === "1";
  if (isOld && compliance === "pqc") {
    const fix = "contradicts COMPLIANCE_POLICY=pqc: TLS 1.2 has no post-quantum key exchange; leave one of them out";
    return { variable: "TLS12_ENABLED", value: tls12, fix };
  }
  if (exchange !== "" && (exchange !== "classical" || compliance === "pqc")) {
    const fix =
      exchange === "classical"
        ? "contradicts COMPLIANCE_POLICY=pqc: leave one of them out"
        : 'is not known: write "classical", or leave it out';
    return { variable: "AMBIENTD_KEY_EXCHANGE", value: exchange, fix };
  }
  const keyExchange = exchange === "classical" ? "classical" : compliance === "pqc" ? "hybrid-only" : "hybrid-first";
  return { keyExchange, oldest: isOld ? "TLSv1.2" : "TLSv1.3" };
}

const suites = "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256";
const oldSuites = [
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES128-GCM-SHA256",
].join(":");

/**
 * OpenSSL's own notation: a client sends key shares for the groups with `*`, so that neither kind of server has to ask for another one;
 * a server goes for what stands before `/` even if it has to ask.
 */
const groups = {
  "hybrid-first": "*X25519MLKEM768/*X25519:P-256:P-384",
  "hybrid-only": "X25519MLKEM768",
  classical: "X25519:P-256:P-384",
} as const;
