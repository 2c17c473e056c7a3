/** One connection: its facts, its one state, and exactly one reason why it ended (the first cause wins). */
import { specimens } from "../../core/base/specimens.ts";
import type { CloseCode } from "../../core/decision/close-reasons.ts";
import type { ByteEnd, ResetCause } from "../relay/byte-end.ts";
import { Relay, type RelayOutcome, type RelayOwner } from "../relay/relay.ts";
import { tunnelFailure } from "../worker/socket-errors.ts";
import type { CloseDetails, CloseRecord, ConnectionFacts } from "./close-record.ts";
import type { ConnectionState, Ending } from "./connection-state.ts";

/** HTTP/2's CONNECT_ERROR: a TCP reset at the other end of the tunnel (RFC 9113 8.5). */
const connectError = 10;

export interface ConnectionHost {
  nowMs(): number;
  /** Bytes begin to flow; not called for a connection that never gets so far. @param first, second both joined: {@link Connection.open}. */
  opened?(connection: Connection, first: ByteEnd, second: ByteEnd): void;
  /** The first bytes since its relay's `hasMoved` was last taken back. */
  moved?(connection: Connection): void;
  /** Called once for each connection, with the one record of it. */
  closed(connection: Connection, record: CloseRecord): void;
}

export class Connection implements RelayOwner {
  readonly facts: ConnectionFacts;
  readonly #host: ConnectionHost;
  readonly #sinceMs: number;
  #state: ConnectionState = { phase: "deciding" };

  constructor(facts: ConnectionFacts, host: ConnectionHost) {
    this.facts = facts;
    this.#host = host;
    this.#sinceMs = host.nowMs();
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** Joins both ends: from here on bytes flow. @param first the client's side, or the tunnel it came by. */
  open(first: ByteEnd, second: ByteEnd): void {
    const relay = new Relay(first, second, this);
    // Ended by somebody while it was being set up: the ends go the way it went.
    if (this.#state.phase !== "deciding") return relay.cut();
    this.#state = { phase: "open", relay };
    specimens[this.facts.direction] = relay;
    this.#host.opened?.(this, first, second);
    relay.start();
  }

  /** Ends it for a reason of ours: at once if nothing was relayed, else by a reset of both ends. A second reason is not heard. */
  close(reason: CloseCode, details: CloseDetails = {}): void {
    switch (this.#state.phase) {
      case "deciding":
        return this.#settle(reason, details);
      case "open": {
        const { relay } = this.#state;
        if (relay.isEnding) return;
        this.#state = { phase: "closing", relay, reason, details };
        return relay.cut();
      }
      case "closing":
      case "closed":
        return;
    }
  }

  relayMoved(): void {
    this.#host.moved?.(this);
  }

  relayEnded(outcome: RelayOutcome): void {
    switch (this.#state.phase) {
      case "closing":
        return this.#settle(this.#state.reason, this.#state.details);
      case "open": {
        const { reason, details } = endingOf(outcome);
        return this.#settle(reason, details);
      }
      case "deciding":
      case "closed":
        return;
    }
  }

  #settle(reason: CloseCode, details: CloseDetails): void {
    const relay = "relay" in this.#state ? this.#state.relay : undefined;
    const [forward, backward] = [relay?.forward ?? 0, relay?.backward ?? 0];
    const outbound = this.facts.direction === "outbound";
    this.#state = { phase: "closed", reason };
    this.#host.closed(this, {
      ...details,
      facts: this.facts,
      reason,
      bytesSent: outbound ? forward : backward,
      bytesReceived: outbound ? backward : forward,
      durationMs: this.#host.nowMs() - this.#sinceMs,
    });
  }
}

/** Why a relay that nobody cut has ended. */
export function endingOf(outcome: RelayOutcome): Ending {
  if (outcome.kind === "orderly") return { reason: "OK", details: {} };
  if (outcome.kind === "cut") return { reason: "INTERNAL_BUG", details: { detail: "cut without a reason" } };
  const { by, cause } = outcome;
  const details = { detail: detailOf(cause) };
  if (cause.kind === "tunnel") {
    const { reason, details: known } = tunnelFailure(cause.error);
    return { reason, details: known };
  }
  if (cause.kind === "memory") return { reason: "MEM_PRESSURE", details };
  if (cause.kind === "stream" && cause.code !== connectError) return { reason: "PEER_RESET", details };
  // Behind the first end is whoever opened the connection, in both directions.
  return { reason: by === "first" ? "CLIENT_RESET" : "UPSTREAM_RESET", details };
}

function detailOf(cause: ResetCause): string | undefined {
  switch (cause.kind) {
    case "tcp":
      return cause.errno === "ECONNRESET" ? undefined : cause.errno;
    case "stream":
      return cause.code === connectError ? undefined : `h2 error ${cause.code}`;
    case "tunnel":
    case "memory":
      return undefined;
  }
}
