/** iperf3: as many bytes as go through. */

export interface Bulk {
  /** Bits a second that arrived. */
  readonly bitsPerSecond: number;
  /** That arrived, of all streams. */
  readonly bytes: number;
}

export interface BulkOptions {
  readonly address: string;
  readonly port: number;
  readonly seconds: number;
  readonly streams: number;
  /** The server sends. */
  readonly reverse: boolean;
}

export function iperf3Arguments({ address, port, seconds, streams, reverse }: BulkOptions): string[] {
  const counts = ["-p", String(port), "-t", String(seconds), "-P", String(streams)];
  return ["-c", address, ...counts, "-J", "--connect-timeout", "5000", ...(reverse ? ["-R"] : [])];
}

/** Reads what `-J` prints. @returns why it is no measurement, in iperf3's words. */
export function parseIperf3(text: string): Bulk | string {
  let report: Partial<Iperf3Report>;
  try {
    report = JSON.parse(text) as Partial<Iperf3Report>;
  } catch {
    return `iperf3 printed no JSON: ${text.trim().slice(0, 200)}`;
  }
  if (typeof report.error === "string") return `iperf3: ${report.error}`;
  const { bytes, bits_per_second: bitsPerSecond } = report.end?.sum_received ?? {};
  if (typeof bytes !== "number" || typeof bitsPerSecond !== "number") return "iperf3 did not say what was received";
  return bytes > 0 ? { bytes, bitsPerSecond } : "iperf3 transferred nothing";
}

/** The little of it that counts. */
interface Iperf3Report {
  readonly error: string;
  readonly end: { readonly sum_received?: { readonly bytes?: number; readonly bits_per_second?: number } };
}
