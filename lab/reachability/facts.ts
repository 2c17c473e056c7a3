/** What the lab's processes say of one request: the demo's client, its server, and the two agents between. One JSON line each. */

/** A demo client's line, written when the answer or the failure is there. */
export interface Attempt {
  readonly event: "attempt";
  /** Random; sent along as a header, so that the server's line names it too. */
  readonly id: string;
  /** `namespace/pod` of the client. */
  readonly from: string;
  /** Host and port as the client was told them. */
  readonly target: string;
  /** What the name resolved to, `ip:port`. */
  readonly remote: string;
  /** The client's own `ip:port`, as it saw it; absent when connect() itself failed. */
  readonly local?: string;
  readonly status?: number;
  /** errno or a sentence, where there was no answer. */
  readonly error?: string;
  readonly ms: number;
}

/** A demo server's line. */
export interface Served {
  readonly event: "served";
  readonly id: string;
  /** `namespace/pod` of the server. */
  readonly pod: string;
  /** Who was at the other end of its socket, `ip:port`. */
  readonly peer: string;
}

/** An agent's access-log line: how one connection went. */
export interface CloseRecord {
  readonly direction: "outbound" | "inbound";
  readonly protocol: "hbone" | "tcp";
  readonly reason: string;
  readonly "src.addr": string;
  readonly "src.identity"?: string;
  readonly "dst.identity"?: string;
  readonly "app.local"?: string;
  readonly policy?: string;
  readonly trace: string;
  readonly worker?: number;
  readonly node?: string;
}

export type Fact =
  | { readonly kind: "attempt"; readonly attempt: Attempt }
  | { readonly kind: "served"; readonly served: Served }
  | { readonly kind: "closed"; readonly record: CloseRecord };

/** Text that a request of this pod to this host carries, and no other. @param from `namespace/pod`. */
export function markerOf(from: string, host: string): string {
  return `marker-of-${from.replace("/", "-")}-to-${host}.`;
}

/** The fact in a line of some process's log, or undefined where it holds none. */
export function factOf(line: string): Fact | undefined {
  if (!line.startsWith("{")) return undefined;
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return undefined;
  }
  if (value["event"] === "attempt") return { kind: "attempt", attempt: value as unknown as Attempt };
  if (value["event"] === "served") return { kind: "served", served: value as unknown as Served };
  const closed = value["scope"] === "access" && value["direction"] !== undefined && value["reason"] !== undefined;
  return closed ? { kind: "closed", record: value as unknown as CloseRecord } : undefined;
}
