/** What is to become of a stream when a recorded conversation is said again: to our server, and to our client. */

import { HpackDecoder } from "../../core/protocol/h2/hpack/decoder.ts";
import { HpackError } from "../../core/protocol/h2/hpack/hpack-error.ts";
import type { Recorded } from "./recorded.ts";

/** What is to become of the stream. */
export interface Outcome {
  /** Default 200. */
  readonly status?: number;
  /** Default nothing. */
  readonly data?: string;
  /** What we say at the end; `reset`: RST_STREAM(CONNECT_ERROR), and no END_STREAM. Default `ended`. */
  readonly end?: "ended" | "reset" | "nothing";
  /** What the application hears at the end; absent where none is connected to. */
  readonly application?: "ended" | "reset";
  /** In our log. */
  readonly reason: string;
}

/** What ours does where the recorded server did that. It has no other refusals than its own. */
export function inboundAfter(server: string): Outcome {
  if (server.startsWith("rst")) return { data: "x", end: "reset", reason: "UPSTREAM_RESET" };
  if (server === "status401") return { status: 401, reason: "POLICY_DENIED" };
  if (server.startsWith("status") || server === "resetbefore") return { status: 503, reason: "CONNECT_REFUSED" };
  if (server === "serverfin") return { data: "bye", application: "ended", reason: "OK" };
  if (server === "hold") return { application: "ended", reason: "OK" };
  return { data: "hello", application: "ended", reason: "OK" };
}

/** By the name of the case. */
export const inboundOutcomes: Readonly<Record<string, Outcome>> = {
  "echo, client half-closes": { data: "peer 10.77.0.2\nhello", application: "ended", reason: "OK" },
  "echo, client resets with CANCEL": {
    data: "peer 10.77.0.2\nhello",
    end: "nothing",
    application: "reset",
    reason: "PEER_RESET",
  },
  "echo, client resets with CONNECT_ERROR": {
    data: "peer 10.77.0.2\nhello",
    end: "nothing",
    application: "reset",
    reason: "CLIENT_RESET",
  },
  "application ends first": { data: "bye", application: "ended", reason: "OK" },
  "application resets": { data: "x", end: "reset", reason: "UPSTREAM_RESET" },
  "application port closed": { status: 503, reason: "CONNECT_REFUSED" },
  "denied by policy": { status: 401, reason: "POLICY_DENIED" },
  "authority of another address": { status: 400, reason: "DEST_NOT_LOCAL" },
  "authority is loopback": { status: 400, reason: "DEST_NOT_LOCAL" },
  "authority is the tunnel port itself": { status: 503, reason: "RECURSIVE_CALL" },
  "authority is a name": { status: 503, reason: "UNKNOWN_HOSTNAME" },
  "authority without port": { status: 400, reason: "BAD_AUTHORITY" },
  "no baggage, no forwarded": { data: "peer 10.77.0.2\nhi", application: "ended", reason: "OK" },
  "GET instead of CONNECT": { status: 400, reason: "NOT_CONNECT" },
  "server told to stop (SIGTERM) with an open stream": { data: "peer 10.77.0.2\n", application: "ended", reason: "OK" },
};

/** What our client's application hears, and what our log says. */
export interface OutboundOutcome {
  /** `refused`: before anything was relayed. `given up`: by the application itself. */
  readonly end: "ended" | "reset" | "refused" | "given up";
  readonly data: string;
  readonly reason: string;
  readonly detail: string | undefined;
}

/** Where ztunnel made an end of every reset, a reset is one here. */
export function outboundOutcome({ conversation, server }: Recorded): OutboundOutcome {
  const said = conversation.filter((step) => step.dir === "server" && step.stream === 1);
  const status = statusOf(conversation);
  const reset = said.find((step) => step.type === "RST_STREAM");
  const data = Buffer.from(
    said.map((step) => (step.type === "DATA" ? (step.payload ?? "") : "")).join(""),
    "hex",
  ).toString();
  if (server === "resetbefore") return { end: "refused", data: "", reason: "STREAM_REFUSED", detail: undefined };
  if (status !== 200)
    return { end: "refused", data: "", reason: refusals[status] ?? "BAD_CONNECT_REPLY", detail: `status ${status}` };
  if (conversation.some((step) => step.dir === "client" && step.type === "RST_STREAM"))
    return { end: "given up", data, reason: "CLIENT_RESET", detail: undefined };
  if (reset === undefined) return { end: "ended", data, reason: "OK", detail: undefined };
  const code = parseInt(reset.payload ?? "", 16);
  const isTcp = code === 10;
  return {
    end: "reset",
    data,
    reason: isTcp ? "UPSTREAM_RESET" : "PEER_RESET",
    detail: isTcp ? undefined : `h2 error ${code}`,
  };
}

function statusOf(conversation: Recorded["conversation"]): number {
  const head = conversation.find((step) => step.dir === "server" && step.type === "HEADERS")?.payload ?? "";
  const block = new HpackDecoder({ tableSize: 4_096, listSize: 65_536 }).decode(Buffer.from(head, "hex"));
  if (block instanceof HpackError) throw block;
  return Number(block.fields.find(({ name }) => name === ":status")?.value ?? 0);
}

const refusals: Readonly<Record<number, string>> = {
  400: "PEER_BAD_REQUEST",
  401: "PEER_DENIED",
  503: "PEER_UNAVAILABLE",
};
