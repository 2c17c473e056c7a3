/** `traceparent` (W3C Trace Context 3.2): the id that joins both agents' log lines of one connection. */

export interface TraceContext {
  /** 32 lower-case hex digits, not all 0. */
  readonly traceId: string;
  /** 16 lower-case hex digits, not all 0. */
  readonly spanId: string;
  readonly sampled: boolean;
}

/** Octets of randomness a new context takes. */
export const traceSeedLength = 24;

const shape = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})$/;

/** @param seed 24 random octets. */
export function newTraceContext(seed: Uint8Array): TraceContext {
  const hex = Buffer.from(seed).toString("hex");
  return { traceId: nonZero(hex.slice(0, 32)), spanId: nonZero(hex.slice(32, 48)), sampled: false };
}

export function formatTraceContext(context: TraceContext): string {
  return `00-${context.traceId}-${context.spanId}-${context.sampled ? "01" : "00"}`;
}

/** Undefined where there is none that could be continued; the receiver then begins its own. */
export function parseTraceContext(header: string | readonly string[] | undefined): TraceContext | undefined {
  const match = typeof header === "string" ? shape.exec(header) : null;
  if (match === null) return undefined;
  const [, traceId = "", spanId = "", flags = ""] = match;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

function nonZero(hex: string): string {
  return /[^0]/.test(hex) ? hex : hex.replace(/.$/, "1");
}
