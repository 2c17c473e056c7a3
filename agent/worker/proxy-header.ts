/** What an application behind a PROXY tunnel is told of its client before the client's first byte (agent-wire 1.9). */
import type { Endpoint } from "../../core/base/ip.ts";
import { clientIdentity, encodeProxyHeader, ProxyProtocolError } from "../../core/protocol/proxy-protocol/v2.ts";

/**
 * @param destination what the client asked for: its authority's address, or the service's where it asked by hostname.
 * @param uri SPIFFE URI of the client's certificate.
 */
export function proxyHeader(client: Endpoint, destination: Endpoint, uri: string): Uint8Array {
  const header = encodeProxyHeader({ source: client, destination, tlvs: [clientIdentity(uri)] });
  // Both addresses were parsed and the URI fits into a certificate of a few kilobytes.
  if (header instanceof ProxyProtocolError) throw header;
  return header;
}
