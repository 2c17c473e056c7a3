/** How long the body behind a head is (RFC 9112 6.3), for somebody who only passes it by. */
import type { BodyFields, RequestLine, StatusLine } from "./head.ts";

/** Octets; Infinity: until the connection ends. */
export type BodyFraming = number | "chunked";

/** undefined where it is ambiguous, or where what follows is no HTTP/1 any more. */
export function requestBody({ method }: RequestLine, fields: BodyFields): BodyFraming | undefined {
  if (method === "CONNECT") return undefined;
  if (fields.coding === "none") return fields.contentLength ?? 0;
  // Both lengths: whoever answers may see another request than we do. No chunked last: nobody knows where it ends.
  return fields.coding === "chunked" && fields.contentLength === undefined ? "chunked" : undefined;
}

/** The same of a response. @param method of the request that it answers. */
export function responseBody(
  { status }: StatusLine,
  fields: BodyFields,
  method: RequestLine["method"],
): BodyFraming | undefined {
  // Another protocol from here on.
  if (status === 101) return undefined;
  if (method === "HEAD" || status < 200 || status === 204 || status === 304) return 0;
  if (fields.coding === "none") return fields.contentLength ?? Infinity;
  if (fields.contentLength !== undefined) return undefined;
  return fields.coding === "chunked" ? "chunked" : Infinity;
}
