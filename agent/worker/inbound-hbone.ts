/**
 * A stream that came through a tunnel to the pod's 15008 (agent-wire 1.9): every one is judged by itself, answered with 200 only
 * once policy has passed and the application has accepted, and then relayed from the client's own address.
 */
import { closeReason, closeReasons } from "../../core/decision/close-reasons.ts";
import { decideInboundHbone } from "../../core/decision/inbound.ts";
import { isLoopback } from "../../core/base/ip.ts";
import { formatAuthority } from "../../core/protocol/hbone/authority.ts";
import { HboneError } from "../../core/protocol/hbone/hbone-error.ts";
import { parseConnect, type ConnectRequest } from "../../core/protocol/hbone/request.ts";
import { acceptedHeaders, connectStatus, goneHeaders } from "../../core/protocol/hbone/response.ts";
import type { ConnectionFacts } from "../connection/close-record.ts";
import type { Connection } from "../connection/connection.ts";
import { TcpEnd } from "../relay/tcp-end.ts";
import type { IncomingStream } from "../tunnel/hbone-server.ts";
import { baggageOf, noBaggage } from "./baggage.ts";
import { connectFrom, isFailure } from "./connect.ts";
import type { WorkerContext } from "./context.ts";
import { uriOf } from "./identity-uri.ts";
import { probableService } from "./inbound-service.ts";
import { localOf } from "../../core/linux/socket-ends.ts";
import type { ServedPod } from "./pod.ts";
import { logVerdicts } from "./policy-log.ts";
import { proxyHeader } from "./proxy-header.ts";
import { tunnelFailure, type Failure } from "./socket-errors.ts";
import { nextTraceContext } from "./trace-ids.ts";

export async function handleInboundHbone(
  context: WorkerContext,
  pod: ServedPod,
  stream: IncomingStream,
): Promise<void> {
  const { peer } = stream;
  const request = parseConnect(stream.headers);
  const facts: ConnectionFacts = {
    direction: "inbound",
    protocol: "hbone",
    trace: ("trace" in request && request.trace?.traceId) || nextTraceContext().traceId,
    source: peer.remote,
    sourceIdentity: uriOf(peer.identity),
    destination: peer.local,
    authority: request instanceof HboneError ? undefined : formatAuthority(request.authority),
  };
  const connection = pod.begin(facts);
  // Its app connection is given up below, when the connect has settled: first cause first.
  stream.onAbandoned = (why) => {
    const isOurs = why?.type.code === "tunnel.certificate-revoked";
    const { reason, details } = isOurs ? tunnelFailure(why) : goneBefore;
    connection.close(reason, details);
  };
  const refusal =
    request instanceof HboneError
      ? malformed(request)
      : (overLimit(context, pod) ??
        (await connectInside(context, pod, stream, request, connection).catch((thrown: unknown) => {
          connection.close("INTERNAL_BUG");
          stream.refuse(closeReasons.INTERNAL_BUG.status);
          throw thrown;
        })));
  if (refusal === undefined) return;
  connection.close(refusal.reason, refusal.details);
  stream.refuse(refusal.status, refusal.reason === "WORKLOAD_GONE" ? goneHeaders : undefined);
}

/** @returns why it is refused, or undefined once bytes flow or nobody is interested any more. */
async function connectInside(
  context: WorkerContext,
  pod: ServedPod,
  stream: IncomingStream,
  request: ConnectRequest,
  connection: Connection,
): Promise<Refusal | undefined> {
  const { facts } = connection;
  const { peer } = stream;
  // Its client has not heard yet, and is told; others may wait for control to tell of a pod that begins.
  if (pod.isWithdrawn) return gone;
  const local = await context.mesh.waitUntilDecidable(pod.info, context.settings.workloadDeadlineMs);
  const gateway =
    request.network !== undefined && request.network.toLowerCase() !== context.settings.network.toLowerCase();
  // Through another network's gateway an address means nothing here, and what it names is somebody else.
  if (!gateway)
    facts.sourceWorkload = context.mesh.state.workloadByAddress(context.settings.network, peer.remote.address);
  facts.destinationWorkload = local;
  facts.destinationIdentity = local && uriOf(pod.identityOf(local));
  if (context.settings.responseBaggage) facts.sourceBaggage = request.baggage;
  if (local) {
    const { authority, forwarded } = request;
    const [port, hostname] =
      authority.kind === "ip" ? [authority.endpoint.port, undefined] : [authority.port, authority.hostname];
    facts.service = probableService(context.mesh.state, local, port, forwarded.host ?? hostname);
  }
  const { requireWaypoint, localhostApplicationTunnel, policyInfoLogging } = context.settings;
  const decision = decideInboundHbone(context.mesh.state, {
    local,
    socketAddress: peer.local.address,
    authority: request.authority,
    peer: { address: peer.remote.address, identity: peer.identity },
    localhostApplicationTunnel,
    requireWaypoint,
  });
  logVerdicts(context.policyLog, policyInfoLogging ? "info" : "debug", facts, decision);
  if (decision.kind === "refuse") {
    const { reason, status, policy, waypoint } = decision;
    return { reason, status, details: { policy, detail: waypoint } };
  }
  // Nothing has run since the decision: what changes from here on finds the connection registered.
  if (local) {
    context.registry.admit(connection, {
      local,
      peerIdentity: peer.identity,
      peerAddress: peer.remote.address,
      destination: decision.destination,
      requireWaypoint,
    });
  }
  // Loopback takes nobody from outside; and whoever calls himself is himself already.
  const { target } = decision;
  const isOwnCall = isLoopback(target.address) || peer.remote.address === target.address;
  const from = pod.mayImpersonate && !isOwnCall ? peer.remote.address : undefined;
  const socket = await connectFrom(context, { netns: pod.netns, remote: target, from });
  if (isFailure(socket)) {
    const { side, status } = closeReason(socket.reason);
    if (pod.isGoing && side === "peer") return { ...gone, details: socket.details };
    return { ...socket, status: status ?? connectStatus.unavailable };
  }
  if (connection.state.phase !== "deciding") {
    // Taken back, or no longer allowed, while the application was being connected to.
    new TcpEnd(socket).reset();
    const { reason } = connection.state as { reason: Failure["reason"] };
    return { reason, status: closeReason(reason).status ?? connectStatus.unavailable, details: {} };
  }
  facts.appLocal = localOf(socket);
  const baggage = context.settings.responseBaggage && local ? baggageOf(local) : noBaggage;
  const [tunnel, application] = [stream.accept(acceptedHeaders(baggage)), new TcpEnd(socket, context.resets)];
  // After the answer, and before whatever the client says.
  if (decision.proxyHeader !== undefined) {
    application.write(proxyHeader(peer.remote, decision.proxyHeader.destination, uriOf(peer.identity)));
  }
  connection.open(tunnel, application);
  return undefined;
}

interface Refusal extends Failure {
  readonly status: number;
}

/** A stream cannot be left to wait like a connection that is not accepted: its tunnel stands already. */
function overLimit(context: WorkerContext, pod: ServedPod): Refusal | undefined {
  const isShort = context.heldMemory.isShort ? "MEM_PRESSURE" : undefined;
  const reason = context.gate.closed ?? isShort ?? (pod.isFull ? "POD_CONN_LIMIT" : undefined);
  return reason && { reason, status: closeReasons[reason].status, details: {} };
}

function malformed({ type }: HboneError): Refusal {
  const detail = "authority" in type ? type.authority : type.code;
  const reason = type.code === "hbone.method" ? "NOT_CONNECT" : "BAD_AUTHORITY";
  return { reason, status: closeReasons[reason].status, details: { detail } };
}

const gone: Refusal = { reason: "WORKLOAD_GONE", status: closeReasons.WORKLOAD_GONE.status, details: {} };
const goneBefore: Failure = { reason: "CLIENT_RESET", details: { detail: "before the answer" } };
