/** The 61 fields that every HPACK table begins with (RFC 7541 appendix A); their indices are 1 to 61. */
import type { HeaderField } from "./field.ts";

/** How many there are: the dynamic table's newest entry has the index behind. */
export const staticLength = 61;

/** The field of an index from 1 to 61; undefined for every other. */
export function staticField(index: number): HeaderField | undefined {
  return fields[index - 1];
}

/** The index of a field with this name and value; where only the name is there, minus its first index; else 0. */
export function findStatic(name: string, value: string): number {
  const first = firstIndices.get(name);
  if (first === undefined) return 0;
  // Fields of one name are neighbours.
  for (let index = first; ; index++) {
    const field = fields[index - 1];
    if (field?.name !== name) return -first;
    if (field.value === value) return index;
  }
}

/** In the order of their indices. */
const fields: readonly HeaderField[] = [
  { name: ":authority", value: "" },
  ...valuesOf(":method", "GET", "POST"),
  ...valuesOf(":path", "/", "/index.html"),
  ...valuesOf(":scheme", "http", "https"),
  ...valuesOf(":status", "200", "204", "206", "304", "400", "404", "500"),
  { name: "accept-charset", value: "" },
  { name: "accept-encoding", value: "gzip, deflate" },
  ...[
    ...["accept-language", "accept-ranges", "accept", "access-control-allow-origin", "age", "allow", "authorization"],
    ...["cache-control", "content-disposition", "content-encoding", "content-language", "content-length"],
    ...["content-location", "content-range", "content-type", "cookie", "date", "etag", "expect", "expires", "from"],
    ...["host", "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified"],
    ...["link", "location", "max-forwards", "proxy-authenticate", "proxy-authorization", "range", "referer", "refresh"],
    ...["retry-after", "server", "set-cookie", "strict-transport-security", "transfer-encoding", "user-agent", "vary"],
    ...["via", "www-authenticate"],
  ].map((name) => ({ name, value: "" })),
];

const firstIndices: ReadonlyMap<string, number> = new Map(
  fields.map(({ name }, index) => [name, index + 1] as const).reverse(),
);

function valuesOf(name: string, ...values: readonly string[]): HeaderField[] {
  return values.map((value) => ({ name, value }));
}
