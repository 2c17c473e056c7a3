/** One subscriber's delta stream: requests into the protocol machine, responses out of it in push order. */
import type { ServerDuplexStream } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import type { Clock } from "../../../core/base/clock.ts";
import type { Log } from "../../../core/base/log.ts";
import {
  Node,
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
} from "../../../core/protocol/generated/discovery.ts";
import {
  DeltaServer,
  type DeltaServerEvent,
  type SubscriptionStatus,
} from "../../../core/protocol/xds/delta-server.ts";
import type { ResourceLog } from "../../../core/protocol/xds/resource-log.ts";
import { XdsError } from "../../../core/protocol/xds/xds-error.ts";
import { denied, invalid, type Refusal } from "../refusal.ts";
import { nodeProblem, type Subscriber } from "./subscriber.ts";
import { policiesAwaitedMs, pushTurn } from "./push-order.ts";
import { RequestBudget } from "./request-budget.ts";

export type DeltaCall = ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

export interface StreamModules {
  readonly logs: ReadonlyMap<string, ResourceLog>;
  readonly clock: Clock;
  readonly log: Log;
}

/** What a subscriber holds, for a dump. */
export interface StreamStatus {
  readonly subscriber: Subscriber;
  readonly nodeId: string;
  /** Monotonic milliseconds. */
  readonly sinceMs: number;
  readonly subscriptions: readonly SubscriptionStatus[];
}

export class SubscriberStream {
  readonly subscriber: Subscriber;
  readonly #call: DeltaCall;
  readonly #modules: StreamModules;
  readonly #machine: DeltaServer;
  readonly #budget: RequestBudget;
  readonly #openedMs: number;
  readonly #unknownTypes = new Set<string>();
  #isOpen = true;
  #cancelPatience: () => void = () => undefined;

  /** Reads from `call` at once. @param onClose called once, however it ends. */
  constructor(subscriber: Subscriber, call: DeltaCall, modules: StreamModules, onClose: () => void) {
    this.subscriber = subscriber;
    this.#call = call;
    this.#modules = modules;
    this.#machine = new DeltaServer(modules.logs);
    this.#openedMs = modules.clock.nowMs();
    this.#budget = new RequestBudget(this.#openedMs);
    const closed = (): void => {
      if (!this.#isOpen) return;
      this.#isOpen = false;
      this.#cancelPatience();
      onClose();
    };
    call.on("data", (request: DeltaDiscoveryRequest) => this.#receive(request));
    call.on("end", () => {
      if (this.#isOpen) call.end();
      closed();
    });
    call.on("cancelled", closed);
    call.on("error", closed);
    call.on("close", closed);
  }

  /** Sends what the subscriber lacks, if it is its turn. Called after every change of the logs, too. */
  push(): void {
    while (this.#isOpen) {
      const { clock } = this.#modules;
      const turn = pushTurn(this.#machine.status(), clock.nowMs() - this.#openedMs);
      if (turn.kind === "policies-awaited") {
        this.#cancelPatience();
        this.#cancelPatience = clock.after(policiesAwaitedMs, () => this.push());
      }
      if (turn.kind !== "now") return;
      const response = this.#machine.poll();
      if (response === undefined) return;
      if (response instanceof XdsError) return this.refuse({ code: status.UNAVAILABLE, details: response.message });
      this.#budget.earn();
      this.#call.write(response);
      this.#notePush(response);
    }
  }

  /** Ends the stream with a status. */
  refuse({ code, details }: Refusal): void {
    if (!this.#isOpen) return;
    this.#modules.log.warn({ subscriber: this.subscriber, code: status[code], details }, "stream ended by us");
    this.#call.emit("error", { code, details });
  }

  status(): StreamStatus {
    return {
      subscriber: this.subscriber,
      nodeId: this.#machine.node?.id ?? "",
      sinceMs: this.#openedMs,
      subscriptions: this.#machine.status(),
    };
  }

  #receive(request: DeltaDiscoveryRequest): void {
    if (!this.#isOpen) return;
    const { clock, log } = this.#modules;
    if (!this.#budget.spend(clock.nowMs())) {
      log.error({ subscriber: this.subscriber, abuse: "XDS_ABUSE" }, "too many requests");
      return this.refuse({ code: status.RESOURCE_EXHAUSTED, details: "too many requests" });
    }
    if (this.#machine.node === undefined && request.node !== undefined) {
      const problem = this.#introduce(request.node);
      if (problem !== undefined) return this.refuse(problem);
    }
    const outcome = this.#machine.receive(request);
    if (outcome instanceof XdsError) {
      if (outcome.type.code !== "xds.unknown-type") return this.refuse(invalid(outcome.message));
      this.#noteUnknown(outcome.type.typeUrl);
    } else {
      this.#note(outcome);
    }
    this.push();
  }

  #introduce(node: Node): Refusal | undefined {
    const bytes = Node.encode(node).finish().length;
    if (bytes > largestNode) return invalid(`the node is ${bytes} bytes, more than ${largestNode}`);
    const problem = nodeProblem(node, this.subscriber);
    if (problem === undefined) {
      this.#modules.log.info({ subscriber: this.subscriber, nodeId: node.id }, "stream opened");
      return undefined;
    }
    return problem.kind === "malformed" ? invalid(problem.sentence) : denied(problem.sentence);
  }

  #notePush({ typeUrl, resources, removedResources }: DeltaDiscoveryResponse): void {
    const nodeId = this.#machine.node?.id;
    const counts = { changed: resources.length, removed: removedResources.length };
    this.#modules.log.debug({ subscriber: this.subscriber, nodeId, typeUrl, ...counts }, "pushed");
  }

  #note(event: DeltaServerEvent): void {
    if (event.kind !== "rejected") return;
    const { typeUrl, nonce, message } = event;
    this.#modules.log.error(
      { subscriber: this.subscriber, typeUrl, nonce, message },
      "resources refused by the subscriber",
    );
  }

  /** Types we have nothing of are asked for by newer agents: said once each, and no reason to end. */
  #noteUnknown(typeUrl: string): void {
    if (this.#unknownTypes.has(typeUrl) || this.#unknownTypes.size >= mostUnknownTypes) return;
    this.#unknownTypes.add(typeUrl);
    this.#modules.log.warn({ subscriber: this.subscriber, typeUrl }, "a type we don't serve was asked for");
  }
}

const largestNode = 65_536;
const mostUnknownTypes = 32;
