/**
 * Into a tunnel: one CONNECT's stream, in a pooled tunnel that has room or in one that is made now (agent-wire 2.1, 3); or, through the gateway
 * to another network, into a tunnel inside such a stream.
 */
import type { DoubleHboneRoute, HboneRoute } from "../../core/decision/route.ts";
import type { Endpoint } from "../../core/base/ip.ts";
import { connectHeaders } from "../../core/protocol/hbone/request.ts";
import type { ConnectResponse } from "../../core/protocol/hbone/response.ts";
import type { TraceContext } from "../../core/protocol/hbone/trace-context.ts";
import type { MeshWorkload } from "../../core/protocol/wds/workload.ts";
import type { ConnectionFacts } from "../connection/close-record.ts";
import { openClientTunnel } from "../tunnel/hbone-client.ts";
import { openInnerTunnel } from "../tunnel/inner/inner-tunnel.ts";
import type { CreateTunnel, Lease, TunnelTarget } from "../tunnel/pool.ts";
import { TunnelError, type ClientTunnel, type StreamOpener, type TunnelStream } from "../tunnel/tunnel.ts";
import { baggageOf } from "./baggage.ts";
import { connectStream } from "./connect.ts";
import type { WorkerCertificate } from "./certificates.ts";
import type { WorkerContext } from "./context.ts";
import { uriOf } from "./identity-uri.ts";
import type { ServedPod } from "./pod.ts";

/** A CONNECT that was answered with 200. */
export interface OpenedStream {
  readonly stream: TunnelStream;
  readonly response: ConnectResponse;
}

/** Why a tunnel through a gateway came to nothing, and on which side of it. */
export interface FailedDial {
  readonly error: TunnelError;
  readonly at: "gateway" | "beyond";
}

/** Where to, and as whom. */
interface TunnelWay {
  readonly tunnel: Endpoint;
  /** SPIFFE URIs of which the other end must prove one. */
  readonly identities: readonly string[];
  readonly certificate: WorkerCertificate;
  /** When the attempt is given up, monotonic milliseconds. */
  readonly untilMs: number;
}

/** One for each connection that needs it; writes into the connection's facts what it learns. */
export class TunnelDialer {
  readonly #context: WorkerContext;
  readonly #pod: ServedPod;
  readonly #facts: ConnectionFacts;
  readonly #trace: TraceContext;

  constructor(context: WorkerContext, pod: ServedPod, facts: ConnectionFacts, trace: TraceContext) {
    this.#context = context;
    this.#pod = pod;
    this.#facts = facts;
    this.#trace = trace;
  }

  /** The route's one stream. Where a pooled tunnel has room its CONNECT is sent in the same turn. */
  async dial(route: HboneRoute, source: MeshWorkload, withinMs: number): Promise<OpenedStream | TunnelError> {
    const untilMs = this.#context.clock.nowMs() + withinMs;
    const certificate = this.#held(source) ?? (await this.#certificate(source));
    if (certificate instanceof TunnelError) return certificate;
    this.#facts.sourceIdentity = certificate.uri;
    return this.#openStream({ ...route, certificate, untilMs }, this.#headers(route, source));
  }

  /** The same through a gateway, which sees the outer CONNECT and then bytes. */
  async dialThrough(
    route: DoubleHboneRoute,
    source: MeshWorkload,
    withinMs: number,
  ): Promise<OpenedStream | FailedDial> {
    const untilMs = this.#context.clock.nowMs() + withinMs;
    const certificate = this.#held(source) ?? (await this.#certificate(source));
    if (certificate instanceof TunnelError) return { error: certificate, at: "gateway" };
    this.#facts.sourceIdentity = certificate.uri;
    const way = { ...route, certificate, untilMs };
    const outer = await this.#openStream(way, this.#headers(route, source));
    if (outer instanceof TunnelError) return { error: outer, at: "gateway" };
    const { settings, tunnels, revocations } = this.#context;
    const inner = await openInnerTunnel({
      ...tunnels,
      carrier: outer.stream,
      context: certificate.context,
      accepted: route.innerIdentities,
      trust: { roots: certificate.tls.roots, revocations },
      deadlineMs: this.#leftMs(way),
    });
    if (inner instanceof TunnelError) return { error: inner, at: "beyond" };
    this.#facts.destinationIdentity = inner.peerIdentity;
    inner.reserve();
    const opening = openIn(inner, this.#headers(route, source, settings.network), this.#leftMs(way));
    this.#pod.pool.keep(inner);
    const opened = await opening;
    return opened instanceof TunnelError ? { error: opened, at: "beyond" } : opened;
  }

  #held(source: MeshWorkload): WorkerCertificate | undefined {
    return this.#context.certificates.current(uriOf(this.#pod.identityOf(source)));
  }

  #certificate(source: MeshWorkload): Promise<WorkerCertificate | TunnelError> {
    const { certificates, settings } = this.#context;
    return certificates.wait(this.#pod.identityOf(source), settings.connectDeadlineMs);
  }

  /** A pooled tunnel may have died unnoticed, or have filled up: what was certainly not looked at gets one more tunnel. */
  async #openStream(way: TunnelWay, headers: Record<string, string>): Promise<OpenedStream | TunnelError> {
    const lease = this.#take(way, 0) ?? (await this.#make(way, 0));
    if (lease instanceof TunnelError) return lease;
    const opened = await this.#connect(lease, headers, way);
    if (!(opened instanceof TunnelError) || !lease.reused) return opened;
    const after = worthAnotherTunnel(opened, lease);
    if (after === undefined) return opened;
    const next = this.#take(way, after) ?? (await this.#make(way, after));
    return next instanceof TunnelError ? next : this.#connect(next, headers, way);
  }

  #take(way: TunnelWay, after: number): Lease | undefined {
    return this.#pod.pool.take(this.#target(way), after);
  }

  #make(way: TunnelWay, after: number): Promise<Lease | TunnelError> {
    const { settings, tunnels, certificates, revocations, handshakes } = this.#context;
    const create: CreateTunnel = async (creation) => {
      // Made for whoever waits by then, with the certificate of that moment.
      const { context, tls } = certificates.current(way.certificate.uri) ?? way.certificate;
      const tunnel = await openClientTunnel({
        ...tunnels,
        socket: connectStream(this.#context, { netns: this.#pod.netns, remote: way.tunnel }),
        context,
        accepted: way.identities,
        trust: { roots: tls.roots, revocations },
        deadlineMs: settings.connectDeadlineMs,
        onConnected: () => (creation.stage = "tls"),
      });
      if (!(tunnel instanceof TunnelError)) handshakes.outbound += 1;
      return tunnel;
    };
    return this.#pod.pool.acquire(this.#target(way), create, this.#leftMs(way), after);
  }

  async #connect(
    { tunnel }: Lease,
    headers: Record<string, string>,
    way: TunnelWay,
  ): Promise<OpenedStream | TunnelError> {
    this.#facts.destinationIdentity = tunnel.peerIdentity;
    const opened = await openIn(tunnel, headers, this.#leftMs(way));
    // Its peer may be gone without a word: the next one is not to wait for the same.
    if (opened instanceof TunnelError && opened.type.code === "tunnel.answer-timeout") tunnel.retire();
    return opened;
  }

  #target({ tunnel, identities, certificate }: TunnelWay): TunnelTarget {
    return { pod: this.#pod.uid, source: certificate.uri, accepted: identities, endpoint: tunnel };
  }

  /** Never nothing: what is late already is found out by asking. */
  #leftMs({ untilMs }: TunnelWay): number {
    return Math.max(1, untilMs - this.#context.clock.nowMs());
  }

  /** @param network ours, for who is reached through a gateway. */
  #headers(route: HboneRoute | DoubleHboneRoute, source: MeshWorkload, network?: string): Record<string, string> {
    return connectHeaders({
      authority: route.authority,
      baggage: baggageOf(source),
      client: this.#facts.source,
      ...(route.service && { serviceHostname: route.service.hostname }),
      trace: this.#trace,
      ...(network !== undefined && { network }),
    });
  }
}

/** Uses the room that was reserved. */
function openIn(
  tunnel: ClientTunnel,
  headers: Record<string, string>,
  withinMs: number,
): Promise<OpenedStream | TunnelError> {
  return new Promise((resolve) => {
    const opener: StreamOpener = { opened: (stream, response) => resolve({ stream, response }), failed: resolve };
    tunnel.open(headers, opener, withinMs);
  });
}

/** Certainly not looked at by the peer, or lost with a tunnel that had served before: then what was made with or before it is no better. */
function worthAnotherTunnel({ type }: TunnelError, lease: Lease): number | undefined {
  switch (type.code) {
    case "tunnel.stream-refused":
      return 0;
    case "tunnel.lost":
    case "tunnel.unresponsive":
    case "tunnel.protocol-error":
      return lease.newest;
    default:
      return undefined;
  }
}
