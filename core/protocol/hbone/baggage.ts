/** `baggage`: who is at the other end, in telemetry's words (W3C Baggage; keys of agent-wire 2.1). A claim of the peer, never an identity. */
import { Memo, oncePerObject } from "../../base/memo.ts";

/** Absent means unknown. */
export interface Baggage {
  readonly clusterName?: string;
  readonly namespace?: string;
  readonly workload?: { readonly kind: WorkloadKind; readonly name: string };
  readonly serviceName?: string;
  readonly serviceVersion?: string;
  readonly region?: string;
  readonly zone?: string;
}

type WorkloadKind = (typeof workloadKinds)[number];

const workloadKinds = ["deployment", "cronjob", "pod", "job"] as const;

/** The header value, in the order other agents write it; empty where nothing is known. Made once for each object: a workload says the same with each of its connections. */
export const formatBaggage = oncePerObject(format);

/** Lenient: members that are not understood are skipped; of several with one key the last counts. One object for one text. */
export function parseBaggage(header: string | readonly string[] | undefined): Baggage {
  return parsed.of(typeof header === "string" ? header : (header ?? []).join(","));
}

function format(baggage: Baggage): string {
  const { workload } = baggage;
  const members: (readonly [string, string | undefined])[] = [
    ["k8s.cluster.name", baggage.clusterName],
    ["k8s.namespace.name", baggage.namespace],
    [`k8s.${workload?.kind ?? "pod"}.name`, workload?.name],
    ["service.name", baggage.serviceName],
    ["service.version", baggage.serviceVersion],
    ["cloud.region", baggage.region],
    ["cloud.availability_zone", baggage.zone],
  ];
  return members.flatMap(([key, value]) => (value ? [`${key}=${encodeValue(value)}`] : [])).join(",");
}

function parse(header: string): Baggage {
  const text = header.slice(0, mostBytes);
  const known = new Map<string, string>();
  for (const member of text.split(",", mostMembers)) {
    const [pair = ""] = member.split(";", 1);
    const equals = pair.indexOf("=");
    if (equals < 0) continue;
    const value = decodeValue(pair.slice(equals + 1).trim());
    if (value !== "") known.set(pair.slice(0, equals).trim(), value);
  }
  const workload = workloadKinds.flatMap((kind) => {
    const name = known.get(`k8s.${kind}.name`);
    return name === undefined ? [] : [{ kind, name }];
  })[0];
  const clusterName = known.get("k8s.cluster.name");
  const namespace = known.get("k8s.namespace.name");
  const serviceName = known.get("service.name");
  const serviceVersion = known.get("service.version");
  const region = known.get("cloud.region");
  const zone = known.get("cloud.availability_zone");
  return {
    ...(clusterName && { clusterName }),
    ...(namespace && { namespace }),
    ...(workload && { workload }),
    ...(serviceName && { serviceName }),
    ...(serviceVersion && { serviceVersion }),
    ...(region && { region }),
    ...(zone && { zone }),
  };
}

/** Percent-encodes what is no baggage-octet, so that no name can add members or break the header. */
function encodeValue(value: string): string {
  return value.toWellFormed().replace(/[^\x21\x23-\x24\x26-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]/gu, encodeURIComponent);
}

function decodeValue(value: string): string {
  if (!value.includes("%")) return value;
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}

/** W3C Baggage 3.3.2: what must be understood; the rest of a longer header is left unread. */
const mostBytes = 8192;
const mostMembers = 64;
const parsed = new Memo(parse, 512, 512);
