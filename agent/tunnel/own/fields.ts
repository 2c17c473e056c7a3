/** Header fields as the machine has them, and as the rest of the agent does: one value for a name, or a list where it came several times. */
import type { HeaderField } from "../../../core/protocol/h2/hpack/field.ts";
import type { AnswerHead, RequestHead } from "../../../core/protocol/h2/message-head.ts";
import type { Headers } from "../../../core/protocol/hbone/request.ts";

export function fieldsOf(headers: Readonly<Record<string, string | number>>): HeaderField[] {
  return Object.entries(headers).map(([name, value]) => ({ name, value: String(value) }));
}

export function requestHeaders({ method, scheme, path, authority, protocol, fields }: RequestHead): Headers {
  const headers = collected(fields);
  headers[":method"] = method;
  if (scheme !== undefined) headers[":scheme"] = scheme;
  if (path !== undefined) headers[":path"] = path;
  if (authority !== undefined) headers[":authority"] = authority;
  if (protocol !== undefined) headers[":protocol"] = protocol;
  return headers;
}

export function answerHeaders({ status, fields }: AnswerHead): Headers {
  const headers = collected(fields);
  headers[":status"] = String(status);
  return headers;
}

/** Without a prototype: a stranger chooses the names. */
function collected(fields: readonly HeaderField[]): Record<string, string | string[]> {
  const headers = Object.create(null) as Record<string, string | string[]>;
  for (const { name, value } of fields) {
    const before = headers[name];
    if (before === undefined) headers[name] = value;
    else if (typeof before === "string") headers[name] = [before, value];
    else before.push(value);
  }
  return headers;
}
