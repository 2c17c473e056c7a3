/**
 * A connection that a pod opened and the kernel redirected to 15001 (agent-wire 1.6): where was it going, where does the mesh
 * say it goes, and then bytes. Nothing is read from the application before there is somewhere to put it.
 */
import { isLoopback, type Endpoint } from "../../core/base/ip.ts";
import { printable } from "../../core/base/printable.ts";
import { isOwnPort } from "../../core/decision/own-ports.ts";
import {
  decideOutbound,
  type DoubleHboneRoute,
  type HboneRoute,
  type OutboundDecision,
} from "../../core/decision/route.ts";
import type { TraceContext } from "../../core/protocol/hbone/trace-context.ts";
import type { MeshWorkload } from "../../core/protocol/wds/workload.ts";
import type { Connection } from "../connection/connection.ts";
import type { ConnectionFacts } from "../connection/close-record.ts";
import { TcpEnd, type EndSocket } from "../relay/tcp-end.ts";
import { TunnelError } from "../tunnel/tunnel.ts";
import { sourceLabels } from "../metrics/traffic-labels.ts";
import { Attempts, attemptWithinMs } from "./attempts.ts";
import { serveCaptured } from "./captured.ts";
import { connectFrom, isFailure } from "./connect.ts";
import type { WorkerContext } from "./context.ts";
import { decideAgain, isWorthAnother } from "./decide-again.ts";
import type { ServedPod } from "./pod.ts";
import { localOf, peerOf } from "../../core/linux/socket-ends.ts";
import { tunnelFailure, type Failure } from "./socket-errors.ts";
import { nextTraceContext } from "./trace-ids.ts";
import { specimens } from "../../core/base/specimens.ts";
import { TunnelDialer } from "./tunnel-dialer.ts";

/** Takes over an accepted socket that nobody has read from. */
export async function handleOutbound(context: WorkerContext, pod: ServedPod, socket: EndSocket): Promise<void> {
  const source = peerOf(socket);
  // Gone before it could be asked: there is nobody to serve and nothing to tell.
  if (source === undefined) return void socket.destroy();
  const trace = nextTraceContext();
  const facts: ConnectionFacts = { direction: "outbound", protocol: "tcp", trace: trace.traceId, source };
  await serveCaptured(context, pod, socket, facts, (connection, client) =>
    new Outbound(context, pod, connection, client, trace).run(socket),
  );
}

class Outbound {
  readonly #context: WorkerContext;
  readonly #pod: ServedPod;
  readonly #connection: Connection;
  readonly #client: TcpEnd;
  readonly #trace: TraceContext;
  readonly #known = (hostname: string): readonly string[] | undefined => this.#context.resolver.known(hostname);

  constructor(context: WorkerContext, pod: ServedPod, connection: Connection, client: TcpEnd, trace: TraceContext) {
    this.#context = context;
    this.#pod = pod;
    this.#connection = connection;
    this.#client = client;
    this.#trace = trace;
    specimens.attempt = this;
  }

  /** @returns why it was not opened, or undefined once bytes flow. */
  async run(socket: EndSocket): Promise<Failure | undefined> {
    const { facts } = this.#connection;
    const target = this.#context.originalDestination(socket);
    if (target === undefined) return failure("NO_ORIGINAL_DST");
    facts.destination = target;
    const { mesh, settings } = this.#context;
    const source =
      mesh.decidable(this.#pod.info) ?? (await mesh.waitUntilDecidable(this.#pod.info, settings.workloadDeadlineMs));
    if (source === undefined) return failure("NO_WORKLOAD");
    if (mesh.state.awaitsPolicies) return failure("NO_POLICIES");
    facts.sourceWorkload = source;
    if (isOwnPort(target.port) && isOurs(source, facts.source, target)) return failure("RECURSIVE_CALL");
    return this.#route(source, target);
  }

  /** Follows decisions until one leads somewhere; a failure that left nothing relayed may get another. */
  async #route(source: MeshWorkload, target: Endpoint): Promise<Failure | undefined> {
    const { clock, random, settings } = this.#context;
    const sinceMs = clock.nowMs();
    let attempts: Attempts | undefined;
    for (;;) {
      const first = this.#decide(source, target, attempts?.exclude);
      const decision = isWorthAnother(first) ? await this.#decideAgain(source, target, attempts?.exclude) : first;
      const leftMs = Math.max(1_000, settings.connectDeadlineMs - (clock.nowMs() - sinceMs));
      const problem = await this.#follow(decision, source, attemptWithinMs(decision, leftMs));
      if (problem === undefined) return undefined;
      attempts ??= new Attempts(sinceMs, random);
      const next = attempts.next(decision, problem, clock.nowMs());
      const isOutOfTime = clock.nowMs() - sinceMs >= settings.connectDeadlineMs;
      // Somebody else may have ended it meanwhile: a policy, or the agent's own end.
      if (next.kind === "give-up" || isOutOfTime || this.#connection.state.phase !== "deciding")
        return attempts.problem;
      this.#connection.facts.retries = attempts.failed;
      this.#connection.facts.retryReason = attempts.problem?.reason;
      if (next.afterMs > 0) await new Promise<void>((resolve) => void clock.after(next.afterMs, resolve));
    }
  }

  #decide(
    source: MeshWorkload,
    target: Endpoint,
    exclude?: ReadonlySet<string>,
    resolved = this.#known,
  ): OutboundDecision {
    const { mesh, random, settings, ejections } = this.#context;
    const { network } = settings;
    return ejections.decide(exclude, (without) =>
      decideOutbound(mesh.state, { source, target, network, random, resolved, ...(without && { exclude: without }) }),
    );
  }

  #decideAgain(source: MeshWorkload, target: Endpoint, exclude?: ReadonlySet<string>): Promise<OutboundDecision> {
    const { resolver, counters } = this.#context;
    const { facts } = this.#connection;
    const counting = {
      known: this.#known,
      resolve: (hostname: string) => {
        counters.count("istio_on_demand_dns", [...sourceLabels(facts), printable(hostname)]);
        return resolver.resolve(hostname);
      },
    };
    return decideAgain(counting, exclude, (without, resolved) => this.#decide(source, target, without, resolved));
  }

  async #follow(decision: OutboundDecision, source: MeshWorkload, withinMs: number): Promise<Failure | undefined> {
    const { facts } = this.#connection;
    switch (decision.kind) {
      case "refuse":
        return failure(decision.reason, decision.hostname);
      case "passthrough":
        return this.#connectPlain(decision.target, withinMs);
      case "direct":
        facts.destinationWorkload = decision.workload;
        facts.service = decision.service;
        return this.#connectPlain(decision.target, withinMs);
      case "hbone":
        return this.#connectTunnel(decision, source, withinMs);
      case "double-hbone":
        return this.#connectThroughGateway(decision, source, withinMs);
    }
  }

  async #connectPlain(target: Endpoint, withinMs: number): Promise<Failure | undefined> {
    const { facts } = this.#connection;
    facts.protocol = "tcp";
    facts.destination = target;
    facts.authority = facts.sourceIdentity = facts.destinationIdentity = undefined;
    const socket = await connectFrom(this.#context, { netns: this.#pod.netns, remote: target }, withinMs);
    if (isFailure(socket)) return socket;
    facts.appLocal = localOf(socket);
    this.#connection.open(this.#client, new TcpEnd(socket, this.#context.resets));
    return undefined;
  }

  async #connectTunnel(route: HboneRoute, source: MeshWorkload, withinMs: number): Promise<Failure | undefined> {
    const opened = await this.#dialerFor(route).dial(route, source, withinMs);
    if (opened instanceof TunnelError) {
      this.#context.ejections.note(route.workload.uid, opened);
      return tunnelFailure(opened);
    }
    this.#context.ejections.restore(route.workload.uid);
    this.#connection.open(this.#client, opened.stream);
    return undefined;
  }

  async #connectThroughGateway(
    route: DoubleHboneRoute,
    source: MeshWorkload,
    withinMs: number,
  ): Promise<Failure | undefined> {
    const { ejections } = this.#context;
    const gateway = route.gateway.workload.uid;
    const opened = await this.#dialerFor(route).dialThrough(route, source, withinMs);
    if ("error" in opened) {
      const problem = tunnelFailure(opened.error);
      if (opened.at === "beyond") return { ...problem, ...behind(route, problem), beyondGateway: true };
      ejections.note(gateway, opened.error);
      return problem;
    }
    ejections.restore(gateway);
    const { baggage } = opened.response;
    // Whom the gateway has chosen, only that one can say.
    if (Object.keys(baggage).length > 0) this.#connection.facts.destinationBaggage = baggage;
    this.#connection.open(this.#client, opened.stream);
    return undefined;
  }

  /** The connection's record says from here on where it is led. */
  #dialerFor({ tunnel, authority, workload, service }: HboneRoute | DoubleHboneRoute): TunnelDialer {
    const { facts } = this.#connection;
    facts.protocol = "hbone";
    facts.destination = tunnel;
    facts.authority = authority;
    facts.destinationWorkload = workload;
    facts.service = service;
    return new TunnelDialer(this.#context, this.#pod, facts, this.#trace);
  }
}

/** A failure that is not the gateway's says so. */
function behind({ gateway }: DoubleHboneRoute, { details }: Failure): Pick<Failure, "details"> {
  const { detail } = details;
  return { details: { ...details, detail: `behind ${gateway.reference}${detail === undefined ? "" : `: ${detail}`}` } };
}

/** Aimed at the pod itself, by whatever name: from 15001 that can only be a circle. */
function isOurs(source: MeshWorkload, client: Endpoint, target: Endpoint): boolean {
  const { address } = target;
  return isLoopback(address) || address === client.address || source.addresses.includes(address);
}

function failure(reason: Failure["reason"], detail?: string): Failure {
  return { reason, details: { detail } };
}
