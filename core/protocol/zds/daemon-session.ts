/**
 * ZDS as the node daemon speaks it to one connected agent: hello, every pod, snapshot-sent, then changes; one request at a time,
 * each answered within 5 s. Acks carry no name, so an agent that misses one is dropped rather than believed about the next.
 */
import { decodeHello, decodeResponse, encodeRequest, ZdsError, type ZdsRequest } from "./messages.ts";

/** How long the agent has for its hello and for each answer. */
export const answerWithinMs = 5000;

/** What a packet from the agent meant. */
export type DaemonEvent =
  | { readonly kind: "hello" } // call begin with the pods to serve
  | { readonly kind: "answer"; readonly request: ZdsRequest; readonly error?: string };

/** A packet to send now; an add goes with the descriptor of that pod's namespace. */
export interface Outgoing {
  readonly request: ZdsRequest;
  readonly bytes: Uint8Array;
}

type State =
  | { readonly phase: "hello"; readonly deadlineMs: number }
  | { readonly phase: "greeted" }
  | { readonly phase: "idle" }
  | { readonly phase: "asked"; readonly request: ZdsRequest; readonly deadlineMs: number }
  | { readonly phase: "closed" };

/** After any ZdsError the session is closed: close the socket; the agent comes back for a new snapshot. */
export class DaemonSession {
  #state: State;
  #queue: ZdsRequest[] = [];
  #live = false;

  /** @param nowMs monotonic milliseconds, here and below. */
  constructor(nowMs: number) {
    this.#state = { phase: "hello", deadlineMs: nowMs + answerWithinMs };
  }

  /** Whether the agent has acknowledged the whole snapshot. */
  get live(): boolean {
    return this.#live;
  }

  /** Monotonic milliseconds at which expire has something to say. */
  get deadlineMs(): number | undefined {
    return "deadlineMs" in this.#state ? this.#state.deadlineMs : undefined;
  }

  /** A packet from the agent. Descriptors are the caller's to close: an agent sends none. */
  receive(bytes: Uint8Array, descriptors: number): DaemonEvent | ZdsError {
    const state = this.#state;
    if (descriptors > 0) return this.#close({ code: "zds.descriptor-count", kind: state.phase, descriptors });
    if (state.phase === "hello") {
      const version = decodeHello(bytes);
      if (version instanceof ZdsError) return this.#close(version.type);
      this.#state = { phase: "greeted" };
      return { kind: "hello" };
    }
    if (state.phase !== "asked") return this.#close({ code: "zds.unexpected-packet", phase: state.phase });
    const response = decodeResponse(bytes);
    if (response instanceof ZdsError) return this.#close(response.type);
    this.#state = { phase: "idle" };
    if (state.request.kind === "snapshot-sent") this.#live = true;
    return { kind: "answer", request: state.request, ...response };
  }

  /** The pods of the snapshot, in order; changes submitted meanwhile follow it. */
  begin(pods: readonly (ZdsRequest & { readonly kind: "add" | "keep" })[]): void {
    if (this.#state.phase !== "greeted") return;
    this.#state = { phase: "idle" };
    this.#queue = [...pods, { kind: "snapshot-sent" }, ...this.#queue];
  }

  /** A change to tell. What was still waiting about that pod is dropped: the newer word counts. */
  submit(change: ZdsRequest & { readonly kind: "add" | "del" }): void {
    this.#queue = this.#queue.filter((queued) => queued.kind === "snapshot-sent" || queued.uid !== change.uid);
    this.#queue.push(change);
  }

  /** The next packet, or undefined while an answer is awaited or nothing is to be said. A request too long to send is an error. */
  poll(nowMs: number): Outgoing | ZdsError | undefined {
    if (this.#state.phase !== "idle") return undefined;
    const request = this.#queue.shift();
    if (request === undefined) return undefined;
    const bytes = encodeRequest(request);
    if (bytes instanceof ZdsError) return bytes;
    this.#state = { phase: "asked", request, deadlineMs: nowMs + answerWithinMs };
    return { request, bytes };
  }

  /** The error of a deadline that passed. */
  expire(nowMs: number): ZdsError | undefined {
    const state = this.#state;
    if (!("deadlineMs" in state) || nowMs < state.deadlineMs) return undefined;
    return this.#close({ code: "zds.timeout", awaiting: state.phase === "hello" ? "hello" : "ack" });
  }

  #close(type: ZdsError["type"]): ZdsError {
    this.#state = { phase: "closed" };
    this.#queue = [];
    return new ZdsError(type);
  }
}
