/** HTTP to a port on a pod's own loopback, through the API server. */
import { request, type IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { messageOf } from "../../core/base/errors.ts";
import { KubeError } from "../../control/sources/kubernetes/errors.ts";
import { Failure } from "../render/failure.ts";
import { apiFailure } from "./api-failure.ts";
import type { Cluster } from "./cluster.ts";
import { openPodPort, PortForwardError, type PodPort } from "./port-forward.ts";

export interface PodAnswer {
  readonly status: number;
  readonly body: string;
}

/** GET, on a connection of its own. @param path e.g. `/config_dump`. @throws Failure that says whose fault it is. */
export async function getFromPod(cluster: Cluster, target: PodPort, path: string): Promise<PodAnswer> {
  const stream = await openPodPort(cluster.connection, target, cluster.timeoutMs);
  if (stream instanceof KubeError) throw apiFailure(stream);
  if (stream instanceof PortForwardError) throw forwardFailure(stream);
  try {
    return await exchange(stream, path, target, cluster.timeoutMs);
  } catch (thrown) {
    if (thrown instanceof PortForwardError) throw forwardFailure(thrown);
    throw thrown instanceof Failure ? thrown : broken(target, messageOf(thrown));
  } finally {
    stream.destroy();
  }
}

function exchange(stream: Duplex, path: string, target: PodPort, timeoutMs: number): Promise<PodAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<PodAnswer>();
  const late = setTimeout(() => {
    reject(forwardFailure(new PortForwardError({ code: "cli.forward-timeout", ...target, afterMs: timeoutMs })));
  }, timeoutMs);
  // The stream's own error says more than what HTTP makes of it.
  stream.once("error", reject);
  if (stream.errored !== null) reject(stream.errored);
  const asked = request({ path, host: "127.0.0.1", port: target.port, createConnection: () => stream }, (response) => {
    bodyOf(response).then((body) => resolve({ status: response.statusCode ?? 0, body }), reject);
  });
  asked.once("error", (error) => setImmediate(reject, error));
  asked.end();
  return promise.finally(() => {
    clearTimeout(late);
    asked.on("error", () => undefined);
  });
}

async function bodyOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let total = 0;
  for await (const chunk of response) {
    total += (chunk as Buffer).length;
    if (total > limitBytes) throw new Error(`the answer is larger than ${limitBytes / 2 ** 20} MiB`);
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks, total).toString("utf8");
}

/** A dump of 50,000 workloads is about 60 MB. */
const limitBytes = 512 * 2 ** 20;

/** Every way a port-forward fails, with what to do about it. */
function forwardFailure({ type }: PortForwardError): Failure {
  const pod = `${type.namespace}/${type.pod}`;
  switch (type.code) {
    case "cli.forward-unauthorized":
      return new Failure(
        `The API server doesn't know who you are, and forwards no port of ${pod}.`,
        "Log in again, or choose another user: --context, --user.",
      );
    case "cli.forward-forbidden":
      return new Failure(
        `You may not forward a port of ${pod}.`,
        `It takes get and create on pods/portforward in ${type.namespace}: kubectl auth can-i create pods/portforward -n ${type.namespace}`,
      );
    case "cli.forward-no-pod":
      return new Failure(`There is no pod ${pod} any more.`, "It was replaced meanwhile: ask again.");
    case "cli.forward-refused":
      return new Failure(
        `The API server can't reach pod ${pod} on its node (HTTP ${type.status}).`,
        `See whether the pod runs and its node is Ready: kubectl -n ${type.namespace} get pod ${type.pod} -o wide`,
      );
    case "cli.forward-unreachable":
      return broken(type, type.reason);
    case "cli.forward-timeout":
      return new Failure(
        `Pod ${pod} gave no answer on port ${type.port} within ${Math.round(type.afterMs / 1000)} s.`,
        "Its node may be overloaded or cut off: kubectl get nodes. --request-timeout 2m waits longer.",
      );
    case "cli.forward-not-listening":
      return new Failure(
        `Nothing listens on port ${type.port} in pod ${pod}.`,
        `It is starting or ending, or is no agent: kubectl -n ${type.namespace} logs ${type.pod}`,
      );
    case "cli.forward-inside":
      return new Failure(
        `The node can't connect to port ${type.port} of pod ${pod}: ${type.reason}.`,
        `See whether the pod runs: kubectl -n ${type.namespace} get pod ${type.pod} -o wide`,
      );
  }
}

function broken({ namespace, pod, port }: PodPort, reason: string): Failure {
  return new Failure(
    `The connection to port ${port} of pod ${namespace}/${pod} broke: ${reason}.`,
    "Ask again; if it stays, see the pod and its node: kubectl get nodes",
  );
}
