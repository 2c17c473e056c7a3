/** A field block as a message's head: what RFC 9113 8.2 and 8.3 demand of requests, answers and trailers. */
import type { HeaderField } from "./hpack/field.ts";

export interface RequestHead {
  readonly kind: "request";
  readonly method: string;
  /** Absent in a CONNECT. */
  readonly scheme?: string;
  readonly path?: string;
  readonly authority?: string;
  /** RFC 8441; nobody was told that we take it. */
  readonly protocol?: string;
  /** Without pseudo-headers, in order. */
  readonly fields: readonly HeaderField[];
}

export interface AnswerHead {
  readonly kind: "answer";
  /** 100 to 999. */
  readonly status: number;
  readonly fields: readonly HeaderField[];
}

/** Not a message that RFC 9113 knows: its stream has to be reset. */
export interface MalformedHead {
  readonly kind: "malformed";
  readonly detail: string;
}

export function parseRequest(fields: readonly HeaderField[]): RequestHead | MalformedHead {
  const pseudo = new Map<string, string>();
  const regular = split(fields, pseudo);
  if (!Array.isArray(regular)) return regular;
  for (const name of pseudo.keys()) if (!requestNames.has(name)) return malformed(`${name} in a request`);
  const [method, scheme, path] = [pseudo.get(":method"), pseudo.get(":scheme"), pseudo.get(":path")];
  const [authority, protocol] = [pseudo.get(":authority"), pseudo.get(":protocol")];
  if (method === undefined || !token.test(method)) return malformed("no :method");
  const head = {
    kind: "request" as const,
    method,
    ...(scheme !== undefined && { scheme }),
    ...(path !== undefined && { path }),
    ...(authority !== undefined && { authority }),
    ...(protocol !== undefined && { protocol }),
    fields: regular,
  };
  // A CONNECT that says more than it may is told by whoever answers it: its tunnel shall live.
  if (method === "CONNECT") return head;
  if (scheme === undefined || path === undefined || path === "") return malformed("no :scheme or :path");
  return head;
}

export function parseAnswer(fields: readonly HeaderField[]): AnswerHead | MalformedHead {
  const pseudo = new Map<string, string>();
  const regular = split(fields, pseudo);
  if (!Array.isArray(regular)) return regular;
  const status = pseudo.get(":status");
  if (status === undefined || pseudo.size > 1 || !/^[1-9][0-9][0-9]$/.test(status)) return malformed("no :status");
  if (status === "101") return malformed("101 in HTTP/2");
  return { kind: "answer", status: Number(status), fields: regular };
}

/** Trailers have no pseudo-headers. */
export function parseTrailers(fields: readonly HeaderField[]): { readonly kind: "trailers" } | MalformedHead {
  const pseudo = new Map<string, string>();
  const regular = split(fields, pseudo);
  if (!Array.isArray(regular)) return regular;
  return pseudo.size > 0 ? malformed("a pseudo-header in trailers") : { kind: "trailers" };
}

/** Octets of content that the head announces; undefined where it doesn't. */
export function contentLengthOf(fields: readonly HeaderField[]): number | undefined | MalformedHead {
  let length: number | undefined;
  for (const { name, value } of fields) {
    if (name !== "content-length") continue;
    if (!/^[0-9]{1,15}$/.test(value)) return malformed("content-length is no number");
    if (length !== undefined && length !== Number(value)) return malformed("two content-lengths");
    length = Number(value);
  }
  return length;
}

function split(fields: readonly HeaderField[], pseudo: Map<string, string>): HeaderField[] | MalformedHead {
  const regular: HeaderField[] = [];
  for (const field of fields) {
    const { name, value } = field;
    if (!validValue.test(value)) return malformed("a forbidden octet in a value");
    if (name.startsWith(":")) {
      if (regular.length > 0) return malformed("a pseudo-header after a regular one");
      if (pseudo.has(name)) return malformed(`${name} twice`);
      pseudo.set(name, value);
      continue;
    }
    if (!validName.test(name)) return malformed("a forbidden octet in a name");
    if (connectionSpecific.has(name)) return malformed(`${name} belongs to HTTP/1`);
    if (name === "te" && value !== "trailers") return malformed("te other than trailers");
    regular.push(field);
  }
  return regular;
}

function malformed(detail: string): MalformedHead {
  return { kind: "malformed", detail };
}

const requestNames: ReadonlySet<string> = new Set([":method", ":scheme", ":path", ":authority", ":protocol"]);
const connectionSpecific: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);
const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** RFC 9113 8.2.1: a token in lower case. */
const validName = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;
/** RFC 9113 8.2.1: no NUL, CR or LF, and no white space at either end. */
const validValue = /^(?![ \t])[^\0\r\n]*(?<![ \t])$/;
