/** wrk, one thread: as many requests as go through, each connection asking again as soon as it was answered. */

export interface Requests {
  readonly requests: number;
  readonly seconds: number;
  readonly perSecond: number;
}

export interface RequestOptions {
  readonly url: string;
  readonly seconds: number;
  readonly connections: number;
  /** A connection for each request. */
  readonly close: boolean;
}

export function wrkArguments({ url, seconds, connections, close }: RequestOptions): string[] {
  const counts = ["-t", "1", "-c", String(connections), "-d", `${seconds}s`, "--timeout", "10s"];
  return [...counts, ...(close ? ["-H", "Connection: close"] : []), url];
}

/** @returns why it is no measurement: an answer that was none, or more lost than one in a thousand. */
export function parseWrk(text: string): Requests | string {
  const done = /^\s*(\d+) requests in ([\d.]+)(us|ms|s|m)\b/m.exec(text);
  const [, count = "", time = "", unit = ""] = done ?? [];
  const requests = Number(count);
  const seconds = Number(time) * (secondsIn[unit] ?? Number.NaN);
  if (done === null || !(seconds > 0)) return `wrk did not say what it did: ${text.trim().slice(-200)}`;
  if (requests === 0) return "wrk got no answer";
  const [, refused = "0"] = /^\s*Non-2xx or 3xx responses: (\d+)/m.exec(text) ?? [];
  if (Number(refused) > 0) return `wrk got ${refused} answers that are no success`;
  const errors = /^\s*Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/m.exec(text) ?? [];
  const lost = errors.slice(1).reduce((sum, each) => sum + Number(each), 0);
  if (lost > requests / 1_000) return `wrk lost ${lost} of ${requests} requests (${errors[0]?.trim()})`;
  return { requests, seconds, perSecond: requests / seconds };
}

const secondsIn: Readonly<Record<string, number>> = { us: 1e-6, ms: 1e-3, s: 1, m: 60 };
