/** `:authority` of an HBONE CONNECT: where the tunnelled connection is to end (RFC 9110 7.2, agent-wire 1.7). */
import { canonicalIp, formatEndpoint, type Endpoint } from "../../base/ip.ts";
import { HboneError } from "./hbone-error.ts";

export type Authority =
  | { readonly kind: "ip"; readonly endpoint: Endpoint }
  | { readonly kind: "hostname"; readonly hostname: string; readonly port: number }; // lower case

const portShape = /^[1-9][0-9]{0,4}$/;
const hostnameShape = /^(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/;
const longestHostname = 253;

/** `1.2.3.4:80`, `[fd00::1]:80` or `name:80`; no user, no zone id, no port 0, no number that only some resolvers take for an address. */
export function parseAuthority(text: string): Authority | HboneError {
  return parseIpAuthority(text) ?? parseHostnameAuthority(text) ?? badAuthority(text);
}

export function formatAuthority(authority: Authority): string {
  return authority.kind === "ip" ? formatEndpoint(authority.endpoint) : `${authority.hostname}:${authority.port}`;
}

/** A DNS name in lower case, or undefined. */
export function hostnameOf(text: string): string | undefined {
  if (text.length > longestHostname) return undefined;
  const hostname = text.toLowerCase();
  const lastLabel = hostname.slice(hostname.lastIndexOf(".") + 1);
  // A name whose last label is a number is an address to some parsers (127.1, 0x7f000001).
  const numeric = /^(?:[0-9]+|0x[0-9a-f]*)$/.test(lastLabel);
  return hostnameShape.test(hostname) && !numeric ? hostname : undefined;
}

function parseIpAuthority(text: string): Authority | undefined {
  const bracketed = text.startsWith("[");
  const end = bracketed ? text.indexOf("]:") : text.indexOf(":");
  if (end < 0 || end > 64) return undefined;
  const address = canonicalIp(text.slice(bracketed ? 1 : 0, end));
  const port = portOf(text.slice(end + (bracketed ? 2 : 1)));
  return address === undefined || port === undefined ? undefined : { kind: "ip", endpoint: { address, port } };
}

function parseHostnameAuthority(text: string): Authority | undefined {
  const colon = text.indexOf(":");
  if (colon < 0 || colon > longestHostname) return undefined;
  const hostname = hostnameOf(text.slice(0, colon));
  const port = portOf(text.slice(colon + 1));
  return hostname === undefined || port === undefined ? undefined : { kind: "hostname", hostname, port };
}

function portOf(text: string): number | undefined {
  const port = portShape.test(text) ? Number(text) : 0;
  return port > 0 && port <= 65_535 ? port : undefined;
}

function badAuthority(text: string): HboneError {
  return new HboneError({ code: "hbone.bad-authority", authority: text.slice(0, 256) });
}
