/** What test/e2e/apps/client.ts tells of one request, and how an agent's line about it is recognised. */
import type { CloseRecord } from "../../lab/reachability/facts.ts";

/** A line of `get` and `loop`. */
export interface Asked {
  /** The URL that was asked. */
  readonly target: string;
  /** Absent where there was no answer; then `error` says why. */
  readonly status?: number;
  readonly error?: string;
  readonly ms: number;
  /** When it was over (Unix ms). */
  readonly at: number;
  /** The client's own port. */
  readonly local: number;
  /** Octets of the request and of the answer, head and all. */
  readonly sent: number;
  readonly received: number;
  /** What test/e2e/apps/server.ts saw. */
  readonly answer: { readonly pod: string; readonly peer: string; readonly peerPort: number; readonly url: string };
}

/** The client's address as the server's kernel told it, without the prefix of mapped IPv4. */
export function peerAddress({ answer }: Asked): string {
  return answer.peer.replace(/^::ffff:/, "");
}

/** Nobody stood between them: the server saw the very port that the client had. Agents connect from ports of their own. */
export function wentDirectly({ local, answer }: Asked): boolean {
  return answer.peerPort === local;
}

/** An endpoint as logs and URLs write it. */
export function endpointText(address: string, port: number): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** The client's agent's line of this request. */
export function isOutboundOf(record: CloseRecord, asked: Asked): boolean {
  return record.direction === "outbound" && record["src.addr"] === endpointText(peerAddress(asked), asked.local);
}

/** The server's agent's line of this request. */
export function isInboundOf(record: CloseRecord, asked: Asked): boolean {
  const seen = endpointText(peerAddress(asked), asked.answer.peerPort);
  return record.direction === "inbound" && record["app.local"] === seen;
}
