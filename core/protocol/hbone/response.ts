/** The answer to a CONNECT: 200 and then bytes, or a status that says whose fault it is (agent-wire 1.9, 2.2). */
import { formatBaggage, parseBaggage, type Baggage } from "./baggage.ts";
import { HboneError } from "./hbone-error.ts";
import type { Headers } from "./request.ts";

/** Statuses an agent answers with. Policy is 401, not 403: that is what the other agents say and expect. */
export const connectStatus = { ok: 200, badRequest: 400, denied: 401, unavailable: 503 } as const;

export interface ConnectResponse {
  /** The destination workload, where the server says. */
  readonly baggage: Baggage;
}

/** Headers of the 200, sent once policy allowed the connection and the application accepted it. */
export function acceptedHeaders(destination: Baggage): { ":status": number; baggage?: string } {
  const baggage = formatBaggage(destination);
  return { ":status": connectStatus.ok, ...(baggage !== "" && { baggage }) };
}

/**
 * Beside the status of a refusal by a pod that is going and takes no new connections: another endpoint is to be tried at once. A header of
 * our own, which agents that do not know it leave alone.
 */
export const goneHeaders = { "x-ambientd-gone": "true" } as const;

/** @param ended whether the HEADERS frame carried END_STREAM: a tunnel that ends as it begins is none. */
export function parseConnectResponse(headers: Headers, ended: boolean): ConnectResponse | HboneError {
  const status = Number(headers[":status"]);
  if (!Number.isInteger(status) || status < 100 || status > 999) return new HboneError({ code: "hbone.bad-status" });
  if (status !== connectStatus.ok) {
    const isGone = status === connectStatus.unavailable && headers["x-ambientd-gone"] === "true";
    return new HboneError({ code: "hbone.refused", status, ...(isGone && { gone: true }) });
  }
  if (ended) return new HboneError({ code: "hbone.ended" });
  const { baggage } = headers;
  return { baggage: parseBaggage(typeof baggage === "number" ? undefined : baggage) };
}
