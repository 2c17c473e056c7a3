/**
 * What control says, for as long as anybody listens: one delta stream at a time, opened anew with growing, jittered pauses.
 * A disconnect never clears anything: the next stream begins with the versions held, and control sends the difference.
 * The rules of the protocol are core/protocol/xds/delta-client.ts; here are the stream, time and the order of updates.
 */
import { Backoff, type BackoffOptions } from "../../core/base/backoff.ts";
import type { Clock } from "../../core/base/clock.ts";
import { messageOf } from "../../core/base/errors.ts";
import type { Log } from "../../core/base/log.ts";
import { unhurried, type Pace } from "../../core/base/pace.ts";
import { systemRandom, type Random } from "../../core/base/random.ts";
import type { DeltaDiscoveryRequest, Node } from "../../core/protocol/generated/discovery.ts";
import { DeltaClient, type DeltaUpdate, type Rejection } from "../../core/protocol/xds/delta-client.ts";
import { deltaStreams, type DeltaStream } from "./delta-stream.ts";
import type { ControlEndpoint } from "./grpc-channel.ts";
import { ControlError } from "./grpc-errors.ts";
import { RemovalGuard } from "./removal-guard.ts";

export interface XdsSessionModules {
  /** Opens a stream; what can't even begin is an error. */
  readonly open: () => DeltaStream | ControlError;
  readonly clock: Clock;
  /** Of what a large push takes of this thread. Default: nobody is held up. */
  readonly pace?: Pace;
  readonly random?: Random;
  readonly log: Log;
}

export interface XdsSubscription {
  readonly node: Node;
  /** Type URLs in order of subscription. Default: Address, then Authorization. */
  readonly types?: readonly string[];
  /**
   * Applies an update everywhere and answers with what it couldn't use. Control gets its ACK (or NACK) after that; the next
   * update comes after that too.
   */
  readonly onUpdate: (update: DeltaUpdate) => Promise<readonly Rejection[]>;
  /** A message has come. @param bytes of the resources in it. */
  readonly onReceived?: (typeUrl: string, bytes: number) => void;
  /** A stream has ended, or could not be opened; `control.closed` where we ended it. */
  readonly onEnded?: (error: ControlError) => void;
}

export interface XdsSessionOptions extends ControlEndpoint, XdsSubscription, Omit<XdsSessionModules, "open"> {}

export type XdsPhase =
  | { readonly phase: "connecting" }
  | { readonly phase: "live" } // control has answered on this stream
  | { readonly phase: "waiting"; readonly retryMs: number }
  | { readonly phase: "closed" };

export type XdsStatus = XdsPhase & {
  /** Monotonic milliseconds at which the phase began. */
  readonly sinceMs: number;
  /** How the last stream ended. */
  readonly lastError?: ControlError["type"];
  readonly types: readonly XdsTypeStatus[];
};

export interface XdsTypeStatus {
  readonly typeUrl: string;
  /** Responses answered, whether with an ACK or a NACK. */
  readonly processed: number;
  /** Removals that wait because half of the world was missing after a reconnect. */
  readonly removalsWaiting: number;
  /** What the last response held that we couldn't use. */
  readonly rejected: readonly Rejection[];
}

export interface XdsSession {
  /** Settles once each type has had a response that was answered, ACK or NACK: a bad object must not keep a node from starting. */
  readonly ready: Promise<void>;
  status(): XdsStatus;
  close(): void;
}

/** Subscribes at control until `close`. */
export function startXdsSession(options: XdsSessionOptions): XdsSession {
  return runXdsSession(options, { ...options, open: deltaStreams(options, options.clock) });
}

/** The same over any stream: what tests pass in. */
export function runXdsSession(subscription: XdsSubscription, modules: XdsSessionModules): XdsSession {
  const session = new Session(subscription, modules);
  void session.run();
  return session;
}

class Session implements XdsSession {
  readonly ready: Promise<void>;
  readonly #subscription: XdsSubscription;
  readonly #modules: XdsSessionModules;
  readonly #client: DeltaClient;
  readonly #guard: RemovalGuard;
  readonly #backoff: Backoff;
  readonly #types: Map<string, { processed: number; rejected: readonly Rejection[] }>;
  readonly #becomeReady: () => void;
  #phase: XdsPhase = { phase: "connecting" };
  #sinceMs: number;
  #lastError: ControlError | undefined;
  #stream: DeltaStream | undefined;
  #wake: (() => void) | undefined;
  /** Settles when the update in progress has been applied: updates never overlap. */
  #applied: Promise<unknown> = Promise.resolve();

  constructor(subscription: XdsSubscription, modules: XdsSessionModules) {
    const types = subscription.types ?? agentTypes;
    const { clock, log, random = systemRandom } = modules;
    this.#subscription = subscription;
    this.#modules = modules;
    this.#client = new DeltaClient({ node: subscription.node, types });
    this.#guard = new RemovalGuard({ clock, log, release: (typeUrl, names) => void this.#removeLate(typeUrl, names) });
    this.#backoff = new Backoff(reconnectBackoff, random);
    this.#types = new Map(types.map((typeUrl) => [typeUrl, { processed: 0, rejected: [] }]));
    this.#sinceMs = clock.nowMs();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ready = promise;
    this.#becomeReady = resolve;
  }

  async run(): Promise<void> {
    const { clock, log } = this.#modules;
    while (!this.#isClosed()) {
      this.#enter({ phase: "connecting" });
      const startedMs = clock.nowMs();
      const error = await this.#converse();
      if (this.#isClosed()) return this.#subscription.onEnded?.(new ControlError({ code: "control.closed" }));
      this.#subscription.onEnded?.(error);
      this.#lastError = error;
      // Only a stream that was of use for a while makes the next pause short again: control that answers once and fails
      // must not be asked a hundred times a second.
      const steady = this.#phase.phase === "live" && clock.nowMs() - startedMs >= steadyMs;
      if (steady) this.#backoff.reset();
      const retryMs = this.#backoff.next();
      log.warn(
        { error: error.type, retryMs: Math.round(retryMs) },
        "no stream from control; what is known stays in force",
      );
      this.#enter({ phase: "waiting", retryMs });
      await this.#pause(retryMs);
    }
  }

  status(): XdsStatus {
    const types = [...this.#types].map(([typeUrl, { processed, rejected }]) => ({
      typeUrl,
      processed,
      rejected,
      removalsWaiting: this.#guard.waiting(typeUrl),
    }));
    const lastError = this.#lastError === undefined ? {} : { lastError: this.#lastError.type };
    return { ...this.#phase, sinceMs: this.#sinceMs, types, ...lastError };
  }

  close(): void {
    if (this.#isClosed()) return;
    this.#enter({ phase: "closed" });
    this.#guard.close();
    this.#stream?.close();
    this.#wake?.();
  }

  /** One stream from its first request to its end: why it ended. */
  async #converse(): Promise<ControlError> {
    const stream = this.#modules.open();
    if (stream instanceof ControlError) return stream;
    this.#stream = stream;
    try {
      return await this.#follow(stream);
    } finally {
      stream.close();
      this.#stream = undefined;
    }
  }

  async #follow(stream: DeltaStream): Promise<ControlError> {
    /** What was held of each type that has not been answered yet on this stream. */
    const heldBefore = new Map<string, number>();
    for (const request of this.#client.connected()) {
      heldBefore.set(request.typeUrl, this.#client.held(request.typeUrl));
      stream.send(request);
    }
    for (;;) {
      const ended = await this.#answerNext(stream, heldBefore);
      if (ended !== undefined) return ended;
    }
  }

  /**
   * One response, from its arrival to its answer; @returns why there is none. A function of its own: while the loop waits for the next
   * one nothing of this one is in reach any more, and it may be of tens of megabytes.
   */
  async #answerNext(stream: DeltaStream, heldBefore: Map<string, number>): Promise<ControlError | undefined> {
    const response = await stream.receive();
    if (response instanceof ControlError) return response;
    if (this.#isClosed()) return new ControlError({ code: "control.closed" });
    if (this.#phase.phase === "connecting") this.#enter({ phase: "live" });
    const update = this.#client.decode(response);
    this.#subscription.onReceived?.(
      update.typeUrl,
      update.resources.reduce((sum, { bytes }) => sum + bytes.length, 0),
    );
    const admitted = this.#guard.admit(update, heldBefore.get(update.typeUrl));
    heldBefore.delete(update.typeUrl);
    const rejected = await this.#apply(admitted);
    if (rejected instanceof ControlError) return rejected;
    if (this.#isClosed()) return new ControlError({ code: "control.closed" });
    stream.send(await this.#acknowledgement(update.nonce, rejected));
    this.#note(update, rejected);
    return undefined;
  }

  async #acknowledgement(nonce: string, rejected: readonly Rejection[]): Promise<DeltaDiscoveryRequest> {
    const { clock, pace = unhurried(clock) } = this.#modules;
    const turns = this.#client.acknowledgeInTurns(nonce, rejected);
    for (;;) {
      const beganMs = clock.nowMs();
      const next = turns.next();
      if (next.done === true) return next.value;
      await pace.rest(clock.nowMs() - beganMs);
    }
  }

  /** Hands an update on once the one before has been applied. */
  #apply(update: DeltaUpdate): Promise<readonly Rejection[] | ControlError> {
    const result = this.#applied.then(async () => {
      try {
        return await this.#subscription.onUpdate(update);
      } catch (thrown) {
        // Our own bug. Nothing is acknowledged, so that control sends it again on the next stream.
        return new ControlError({ code: "control.internal-bug", problem: messageOf(thrown) });
      }
    });
    this.#applied = result;
    return result;
  }

  async #removeLate(typeUrl: string, removed: readonly string[]): Promise<void> {
    const outcome = await this.#apply({ typeUrl, nonce: "", resources: [], removed });
    if (outcome instanceof ControlError) this.#modules.log.error({ error: outcome.type }, "late removals failed");
  }

  #note({ typeUrl }: DeltaUpdate, rejected: readonly Rejection[]): void {
    const type = this.#types.get(typeUrl);
    if (type === undefined) return;
    type.processed += 1;
    type.rejected = rejected;
    for (const { name, reason } of rejected) {
      this.#modules.log.error({ typeUrl, name, reason }, "resource refused; its last good version stays in force");
    }
    if (this.#client.complete) this.#becomeReady();
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        cancel();
        this.#wake = undefined;
        resolve();
      };
      const cancel = this.#modules.clock.after(ms, done);
      this.#wake = done;
    });
  }

  #enter(phase: XdsPhase): void {
    this.#phase = phase;
    this.#sinceMs = this.#modules.clock.nowMs();
  }

  #isClosed(): boolean {
    return this.#phase.phase === "closed";
  }
}

/** What an agent asks for, in the field's order. */
export const agentTypes = [
  "type.googleapis.com/istio.workload.Address",
  "type.googleapis.com/istio.security.Authorization",
];

const reconnectBackoff: BackoffOptions = { firstMs: 20, capMs: 15_000, jitter: 0.2 };
const steadyMs = 10_000;
