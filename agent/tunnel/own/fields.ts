/** Header fields as the machine has them, and as the rest of the agent does: one value for a name, or a list where it came several times. */
import type { HeaderField } from "../../../core/protocol/h2/hpack/field.ts";
import type { RequestHead } from "../../../core/protocol/h2/message-head.ts";
import type { Headers } from "../../../core/protocol/hbone/request.ts";

export function fieldsOf(headers: Readonly<Record<string, string | number>>): HeaderField[] {
  return Object.entries(headers).map(([name, value]) => ({ name, value: String(value) }));
}

export function headersOf(fields: readonly HeaderField[]): Headers {
  const headers: Record<string, string | string[]> = Object.create(null) as Record<string, string | string[]>;
  for (const { name, value } of fields) {
    const before = headers[name];
    if (before === undefined) headers[name] = value;
    else if (typeof before === "string") headers[name] = [before, value];
    else before.push(value);
  }
  return headers;
}

export function requestHeaders({ method, scheme, path, authority, protocol, fields }: RequestHead): Headers {
  return {
    ...headersOf(fields),
    ":method": method,
    ...(scheme !== undefined && { ":scheme": scheme }),
    ...(path !== undefined && { ":path": path }),
    ...(authority !== undefined && { ":authority": authority }),
    ...(protocol !== undefined && { ":protocol": protocol }),
  };
}
