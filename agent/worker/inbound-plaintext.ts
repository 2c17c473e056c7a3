/** A plaintext connection to a pod, redirected to 15006 (agent-wire 1.9): policies see no identity; the application sees the client's address. */
import { decideInboundPlaintext } from "../../core/decision/inbound.ts";
import type { ConnectionFacts } from "../connection/close-record.ts";
import type { Connection } from "../connection/connection.ts";
import { TcpEnd, type EndSocket } from "../relay/tcp-end.ts";
import { serveCaptured } from "./captured.ts";
import { connectFrom, isFailure } from "./connect.ts";
import type { WorkerContext } from "./context.ts";
import { logVerdicts } from "./policy-log.ts";
import { probableService } from "./inbound-service.ts";
import { localOf, peerOf } from "../../core/linux/socket-ends.ts";
import type { ServedPod } from "./pod.ts";
import type { Failure } from "./socket-errors.ts";
import { nextTraceContext } from "./trace-ids.ts";

/** Takes over an accepted socket that nobody has read from. */
export async function handleInboundPlaintext(context: WorkerContext, pod: ServedPod, socket: EndSocket): Promise<void> {
  const source = peerOf(socket);
  if (source === undefined) return void socket.destroy();
  const facts: ConnectionFacts = {
    direction: "inbound",
    protocol: "tcp",
    trace: nextTraceContext().traceId,
    source,
    sourceWorkload: context.mesh.state.workloadByAddress(context.settings.network, source.address),
  };
  await serveCaptured(context, pod, socket, facts, (connection, client) =>
    connectInside(context, pod, socket, client, connection),
  );
}

/** @returns why it is refused, or undefined once bytes flow. */
async function connectInside(
  context: WorkerContext,
  pod: ServedPod,
  socket: EndSocket,
  client: TcpEnd,
  connection: Connection,
): Promise<Failure | undefined> {
  const { facts } = connection;
  const destination = context.originalDestination(socket);
  if (destination === undefined) return { reason: "NO_ORIGINAL_DST", details: {} };
  facts.destination = destination;
  const local = await context.mesh.waitUntilDecidable(pod.info, context.settings.workloadDeadlineMs);
  facts.destinationWorkload = local;
  facts.service = local && probableService(context.mesh.state, local, destination.port);
  const peerAddress = facts.source.address;
  const { requireWaypoint, policyInfoLogging } = context.settings;
  const decision = decideInboundPlaintext(context.mesh.state, { local, destination, peerAddress, requireWaypoint });
  logVerdicts(context.policyLog, policyInfoLogging ? "info" : "debug", facts, decision);
  if (decision.kind === "refuse") {
    return { reason: decision.reason, details: { policy: decision.policy, detail: decision.waypoint } };
  }
  // Nothing has run since the decision: what changes from here on finds the connection registered.
  if (local) {
    context.registry.admit(connection, { local, peerAddress, destination: decision.destination, requireWaypoint });
  }
  const from = pod.mayImpersonate && peerAddress !== decision.target.address ? peerAddress : undefined;
  const application = await connectFrom(context, { netns: pod.netns, remote: decision.target, from });
  if (isFailure(application)) return application;
  facts.appLocal = localOf(application);
  connection.open(client, new TcpEnd(application, context.resets));
  return undefined;
}
