/** What a CONNECT was answered with, as whoever asked for a tunnel understands it. */
import { HboneError } from "../../core/protocol/hbone/hbone-error.ts";
import type { Headers } from "../../core/protocol/hbone/request.ts";
import { parseConnectResponse, type ConnectResponse } from "../../core/protocol/hbone/response.ts";
import { TunnelError } from "./tunnel.ts";

/** @param ended whether the answer's HEADERS frame carried END_STREAM. */
export function readAnswer(headers: Headers, ended: boolean): ConnectResponse | TunnelError {
  const response = parseConnectResponse(headers, ended);
  if (!(response instanceof HboneError)) return response;
  const { type } = response;
  return type.code === "hbone.refused"
    ? new TunnelError({ ...type, code: "tunnel.refused" })
    : new TunnelError({ code: "tunnel.bad-answer", detail: type.code });
}
