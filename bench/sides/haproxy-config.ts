/** haproxy's configuration at either end of an mTLS pair. Pure. */
import { outboundPort } from "./redirect.ts";
import type { CertificateFiles } from "./authority.ts";

/** A connection to port P of the application comes to the peer's haproxy on P and this. */
export const tunnelOffset = 20_000;

/** The key exchange and the suite that both ends hold to: what ours negotiate, as far as OpenSSL 3.0 has it (no X25519MLKEM768). */
export const haproxyTls = { group: "X25519", suite: "TLS_AES_256_GCM_SHA384" } as const;

/**
 * Takes what the pod sends (haproxy reads SO_ORIGINAL_DST) to the same address in a tunnel of its own.
 * A session is never resumed: the server must see a certificate each time, as ours do.
 */
export function clientConfig(certificates: CertificateFiles, threads: number): string {
  const { bundle, roots } = certificates;
  return `${globals(threads)}
frontend outbound
  bind 127.0.0.1:${outboundPort}
  default_backend peer

backend peer
  server peer 0.0.0.0:+${tunnelOffset} ssl crt ${bundle} ca-file ${roots} verify required no-ssl-reuse
`;
}

/** Takes tunnels, a port for each port of the application, to the application; which sees the client's own address. */
export function serverConfig(certificates: CertificateFiles, threads: number, ports: readonly number[]): string {
  const { bundle, roots } = certificates;
  const tls = `ssl crt ${bundle} ca-file ${roots} verify required curves ${haproxyTls.group}`;
  const binds = ports.map((port) => `  bind 0.0.0.0:${port + tunnelOffset} ${tls}`);
  return `${globals(threads)}
frontend tunnels
${binds.join("\n")}
  default_backend application

backend application
  source 0.0.0.0 usesrc clientip
  server application 0.0.0.0:-${tunnelOffset}
`;
}

/** What isn't said is as haproxy has it: sizes of buffers, splicing, the number of connections (by the limit of descriptors). */
function globals(threads: number): string {
  return `global
  nbthread ${threads}
  ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
  ssl-default-bind-ciphersuites ${haproxyTls.suite}
  ssl-default-server-options ssl-min-ver TLSv1.3 no-tls-tickets
  ssl-default-server-ciphersuites ${haproxyTls.suite}

defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
`;
}
