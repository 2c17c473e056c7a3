/** A header field as HPACK carries it, and what it counts for. */

/** Each character is one octet (latin1); HPACK gives them no further meaning. */
export interface HeaderField {
  readonly name: string;
  readonly value: string;
}

/** What a field costs beside its octets, in a table (RFC 7541 4.1) as in a list (RFC 9113 6.5.2). */
export const fieldOverhead = 32;

/** Octets that a field counts for, in a table and in a list alike. */
export function fieldSize(field: HeaderField): number {
  return field.name.length + field.value.length + fieldOverhead;
}
