/** `forwarded`: the client's own endpoint and the service it asked for (RFC 7239). Told, not proven: for telemetry only. */
import { canonicalIp, formatEndpoint, type Endpoint } from "../../base/ip.ts";
import { hostnameOf, parseAuthority } from "./authority.ts";

export interface Forwarded {
  /** The port is absent where the sender gave none. */
  readonly for?: { readonly address: string; readonly port?: number };
  /** The hostname of the service that was asked for. */
  readonly host?: string;
}

const longest = 4096;
const parameter = /[ \t]*([A-Za-z]+)=(?:"([^"\\]*)"|([^;,"\s]*))[ \t]*(?:[;,]|$)/y;

export function formatForwarded(client: Endpoint, host?: string): string {
  const element = `for="${formatEndpoint(client)}"`;
  return host === undefined ? element : `${element};host=${host}`;
}

/** Reads as far as it understands; the first `for` and the first `host` count. */
export function parseForwarded(header: string | readonly string[] | undefined): Forwarded {
  const text = (typeof header === "string" ? header : (header ?? []).join(",")).slice(0, longest);
  const found: { for?: { address: string; port?: number }; host?: string } = {};
  parameter.lastIndex = 0;
  while (parameter.lastIndex < text.length) {
    const match = parameter.exec(text);
    if (match === null) break;
    const name = match[1]?.toLowerCase();
    const value = match[2] ?? match[3] ?? "";
    if (name === "for") {
      const node = nodeOf(value);
      if (node) found.for ??= node;
    } else if (name === "host") {
      const host = hostnameOf(value);
      if (host !== undefined) found.host ??= host;
    }
  }
  return found;
}

function nodeOf(value: string): Forwarded["for"] {
  const authority = parseAuthority(value);
  if ("kind" in authority) return authority.kind === "ip" ? authority.endpoint : undefined;
  const address = canonicalIp(value.startsWith("[") && value.endsWith("]") ? value.slice(1, -1) : value);
  return address === undefined ? undefined : { address };
}
