/** What is to become of a stream when a recorded conversation is said again: to our server, and to our client. */

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
