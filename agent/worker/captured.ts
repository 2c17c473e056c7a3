/** A connection that the kernel brought to one of a pod's captured ports, from being accepted to its first byte or its refusal. */
import type { ConnectionFacts } from "../connection/close-record.ts";
import type { Connection } from "../connection/connection.ts";
import { TcpEnd, type EndSocket } from "../relay/tcp-end.ts";
import type { WorkerContext } from "./context.ts";
import type { ServedPod } from "./pod.ts";
import type { Failure } from "./socket-errors.ts";

/**
 * Takes over an accepted socket that nobody has read from.
 * @param serve connects it; returns why not, or undefined once bytes flow.
 */
export async function serveCaptured(
  context: WorkerContext,
  pod: ServedPod,
  socket: EndSocket,
  facts: ConnectionFacts,
  serve: (connection: Connection, client: TcpEnd) => Promise<Failure | undefined>,
): Promise<void> {
  const connection = pod.begin(facts);
  const client = new TcpEnd(socket, context.resets);
  const refusal: Failure | undefined = pod.isFull
    ? { reason: "POD_CONN_LIMIT", details: {} }
    : await serve(connection, client).catch((thrown: unknown) => {
        connection.close("INTERNAL_BUG");
        client.reset();
        throw thrown;
      });
  if (refusal === undefined) return;
  connection.close(refusal.reason, refusal.details);
  // Whoever connected believes that somebody has accepted: only a reset tells that nobody has.
  client.reset();
}
