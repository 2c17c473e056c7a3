/** The CONNECT that opens a tunnelled connection: an HTTP/2 CONNECT with `:method` and `:authority` alone, and three headers about its origin. */
import type { Endpoint } from "../../base/ip.ts";
import { formatAuthority, parseAuthority, type Authority } from "./authority.ts";
import { formatBaggage, parseBaggage, type Baggage } from "./baggage.ts";
import { formatForwarded, parseForwarded, type Forwarded } from "./forwarded.ts";
import { HboneError } from "./hbone-error.ts";
import { formatTraceContext, parseTraceContext, type TraceContext } from "./trace-context.ts";

/** Headers as node:http2 hands them over, pseudo-headers among them. */
export type Headers = Readonly<Record<string, string | readonly string[] | number | undefined>>;

/** What the tunnelling side knows of the connection it tunnels. */
export interface ConnectOrigin {
  readonly authority: Authority | string;
  /** The source workload. */
  readonly baggage: Baggage;
  /** The client's own endpoint. */
  readonly client: Endpoint;
  /** Hostname of the service it asked for, where it was one. */
  readonly serviceHostname?: string;
  readonly trace: TraceContext;
  /** Only on the inner CONNECT of a double HBONE. */
  readonly network?: string;
}

export interface ConnectRequest {
  readonly authority: Authority;
  readonly baggage: Baggage;
  readonly forwarded: Forwarded;
  readonly trace?: TraceContext;
  /** `x-forwarded-network`: it came through a gateway of that network. */
  readonly network?: string;
}

/** The headers to send (agent-wire 2.1). */
export function connectHeaders(origin: ConnectOrigin): Record<string, string> {
  const { authority, network } = origin;
  return {
    ":method": "CONNECT",
    ":authority": typeof authority === "string" ? authority : formatAuthority(authority),
    baggage: formatBaggage(origin.baggage),
    forwarded: formatForwarded(origin.client, origin.serviceHostname),
    traceparent: formatTraceContext(origin.trace),
    ...(network !== undefined && { "x-forwarded-network": network }),
  };
}

/** The request, or why it is answered with 400. Headers about the origin never refuse it: what is not understood is left out. */
export function parseConnect(headers: Headers): ConnectRequest | HboneError {
  const method = textOf(headers[":method"]) ?? "";
  if (method !== "CONNECT") return new HboneError({ code: "hbone.method", method: method.slice(0, 32) });
  const odd = [":scheme", ":path", ":protocol"].find((name) => headers[name] !== undefined);
  if (odd !== undefined) return new HboneError({ code: "hbone.pseudo-header", header: odd });
  const target = textOf(headers[":authority"]);
  if (target === undefined || target === "") return new HboneError({ code: "hbone.authority-missing" });
  const authority = parseAuthority(target);
  if (authority instanceof HboneError) return authority;
  const trace = parseTraceContext(textOf(headers["traceparent"]));
  const network = textOf(headers["x-forwarded-network"]);
  return {
    authority,
    baggage: parseBaggage(listOf(headers["baggage"])),
    forwarded: parseForwarded(listOf(headers["forwarded"])),
    ...(trace && { trace }),
    ...(network !== undefined && { network }),
  };
}

function textOf(value: Headers[string]): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function listOf(value: Headers[string]): string | readonly string[] | undefined {
  return typeof value === "number" ? undefined : value;
}
