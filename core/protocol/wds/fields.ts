/** The fields WDS messages share, parsed into values that need no second look: canonical addresses, ports in range, known enum members. */
import { canonicalIp, formatIp, parseIp } from "../../base/ip.ts";
import type { Port } from "../generated/workload.ts";
import { WdsError } from "./wds-error.ts";

/** One service port and where it leads. `targetPort` 0: a named port, to be found in the workload's own mapping. */
export interface PortMapping {
  readonly servicePort: number;
  readonly targetPort: number;
}

/** A network prefix: 4 or 16 bytes and how many leading bits count. */
export interface Prefix {
  readonly prefix: Uint8Array;
  readonly length: number;
}

const highestPort = 65_535;

/** Canonical text of 4 or 16 bytes (agent-wire 4.4). */
export function addressOf(field: string, bytes: Uint8Array): string | WdsError {
  return formatIp(bytes) ?? new WdsError({ code: "wds.bad-address", field, bytes: bytes.length });
}

/** A prefix with its length checked; one inside ::ffff:0:0/96 becomes the IPv4 prefix it means. */
export function prefixOf(field: string, bytes: Uint8Array, length: number): Prefix | WdsError {
  const text = addressOf(field, bytes);
  if (text instanceof WdsError) return text;
  if (length > bytes.length * 8) return new WdsError({ code: "wds.bad-prefix", field, length });
  const plain = parseIp(canonicalIp(text) ?? text) ?? bytes;
  if (plain.length === bytes.length) return { prefix: Uint8Array.from(bytes), length };
  return length < 96 ? { prefix: Uint8Array.from(bytes), length } : { prefix: plain, length: length - 96 };
}

export function portOf(field: string, port: number): number | WdsError {
  return port <= highestPort ? port : new WdsError({ code: "wds.bad-port", field, port });
}

export function portMappings(field: string, ports: readonly Port[]): readonly PortMapping[] | WdsError {
  return allOf(ports, (port) => {
    const servicePort = portOf(`${field}.service_port`, port.servicePort);
    if (servicePort instanceof WdsError) return servicePort;
    const targetPort = portOf(`${field}.target_port`, port.targetPort);
    if (targetPort instanceof WdsError) return targetPort;
    return { servicePort, targetPort };
  });
}

/** The word for an enum number, `words[number]`; a number without a word is one this version does not know. */
export function enumOf<Word extends string>(
  field: string,
  value: number,
  words: readonly (Word | undefined)[],
): Word | WdsError {
  return words[value] ?? new WdsError({ code: "wds.unknown-enum", field, value });
}

/** `namespace/hostname`, as services are keyed. */
export function serviceKeyOf(field: string, key: string): string | WdsError {
  const slash = key.indexOf("/");
  const wellFormed = slash > 0 && slash < key.length - 1 && !key.includes("/", slash + 1);
  return wellFormed ? key : new WdsError({ code: "wds.bad-key", field, key: key.slice(0, 256) });
}

export function required(field: string, value: string): string | WdsError {
  return value === "" ? new WdsError({ code: "wds.missing", field }) : value;
}

/** All items parsed, or the first error. Of fifty thousand records' lists most are empty: they are one, and no other has room to spare. */
export function allOf<In, Out>(items: readonly In[], parse: (item: In) => Out | WdsError): readonly Out[] | WdsError {
  if (items.length === 0) return none;
  const parsed = new Array<Out>(items.length);
  for (const [at, item] of items.entries()) {
    const one = parse(item);
    if (one instanceof WdsError) return one;
    parsed[at] = one;
  }
  return parsed;
}

const none: readonly never[] = [];
