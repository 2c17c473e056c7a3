/**
 * One TCP connection to a port on a pod's own loopback, carried by the API server (GET …/portforward, subprotocol
 * v4.channel.k8s.io: channel 0 is the data, channel 1 what went wrong; each begins with the port, two bytes).
 */
import { Duplex, PassThrough, Writable } from "node:stream";
import type { KubeConfig } from "@kubernetes/client-node";
import { messageOf, TypedError } from "../../core/base/errors.ts";
import type { KubeConnection } from "../../control/sources/kubernetes/connection.ts";
import { KubeError } from "../../control/sources/kubernetes/errors.ts";

/** Which port of which pod. */
export interface PodPort {
  readonly namespace: string;
  readonly pod: string;
  readonly port: number;
}

export type PortForwardErrorData =
  | (PodPort & { readonly code: "cli.forward-unauthorized" }) // 401
  | (PodPort & { readonly code: "cli.forward-forbidden" }) // 403: get and create of pods/portforward
  | (PodPort & { readonly code: "cli.forward-no-pod" }) // 404
  | (PodPort & { readonly code: "cli.forward-refused"; readonly status: number }) // any other answer but 101
  | (PodPort & { readonly code: "cli.forward-unreachable"; readonly reason: string })
  | (PodPort & { readonly code: "cli.forward-timeout"; readonly afterMs: number })
  | (PodPort & { readonly code: "cli.forward-not-listening" }) // refused inside the pod
  | (PodPort & { readonly code: "cli.forward-inside"; readonly reason: string }); // the node's own words

export class PortForwardError extends TypedError<PortForwardErrorData> {}

/**
 * Opens the connection. The stream fails with a PortForwardError when the node says what is wrong, which it does only after
 * the API server has said yes; it ends when the pod's end does.
 */
export async function openPodPort(
  connection: KubeConnection,
  target: PodPort,
  timeoutMs: number,
): Promise<Duplex | PortForwardError | KubeError> {
  const credentials = await connection.credentials();
  if (credentials instanceof KubeError) return credentials;
  const { PortForward } = await import("@kubernetes/client-node");
  const server = connection.server.href.replace(/\/$/, "");
  // All that the library asks of a configuration here.
  const config = {
    getCurrentCluster: () => ({ name: "", server, skipTLSVerify: false }),
    applyToHTTPSOptions: (options: Record<string, unknown>): Promise<void> => {
      const { headers, tls, agent } = credentials;
      Object.assign(
        options,
        tls,
        { headers, handshakeTimeout: timeoutMs, perMessageDeflate: false },
        agent && { agent },
      );
      return Promise.resolve();
    },
  };
  const stream = new PodPortStream(target);
  try {
    const { namespace, pod, port } = target;
    const socket: unknown = await new PortForward(config as unknown as KubeConfig, true).portForward(
      encodeURIComponent(namespace),
      encodeURIComponent(pod),
      [port],
      stream.fromPod,
      stream.complaints,
      stream.toPod,
    );
    stream.attach(socket as ChannelSocket);
    return stream.errored instanceof PortForwardError ? stream.errored : stream;
  } catch (thrown) {
    stream.destroy();
    return openingError(
      target,
      messageOf(thrown instanceof Error ? thrown : (thrown as { message?: unknown }).message),
      timeoutMs,
    );
  }
}

/** What is used of a web socket. */
interface ChannelSocket {
  close(): void;
  terminate(): void;
  addEventListener(event: "close" | "error", listener: (event: { readonly message?: string }) => void): void;
}

class PodPortStream extends Duplex {
  readonly toPod = new PassThrough();
  readonly fromPod: Writable;
  readonly complaints: Writable;
  readonly #target: PodPort;
  #socket: ChannelSocket | undefined;

  constructor(target: PodPort) {
    super({ allowHalfOpen: true });
    this.#target = target;
    // The node may complain before anybody has had the stream to listen to; `errored` keeps it.
    this.on("error", () => undefined);
    // The protocol can't be told to wait; what is asked for this way is small enough to hold.
    this.fromPod = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        if (!this.readableEnded && !this.destroyed && chunk.length > 0) this.push(chunk);
        done();
      },
    });
    this.complaints = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        const reason = chunk.toString("utf8").trim();
        if (reason !== "") this.destroy(insideError(this.#target, reason));
        done();
      },
    });
  }

  attach(socket: ChannelSocket): void {
    this.#socket = socket;
    socket.addEventListener("close", () => {
      if (!this.destroyed) this.push(null);
    });
    socket.addEventListener("error", ({ message }) => {
      this.destroy(
        new PortForwardError({ code: "cli.forward-unreachable", ...this.#target, reason: message ?? "cut" }),
      );
    });
    if (this.destroyed) socket.terminate();
  }

  override _read(): void {
    // Pushed as it comes.
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.toPod.write(chunk);
    done();
  }

  /** There is no half-close in the protocol: the pod's end is told only when all is over. */
  override _final(done: () => void): void {
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.toPod.destroy();
    this.#socket?.terminate();
    done(error);
  }
}

function openingError(target: PodPort, message: string, timeoutMs: number): PortForwardError {
  const status = Number(/Unexpected server response: (\d+)/.exec(message)?.[1] ?? NaN);
  if (status === 401) return new PortForwardError({ code: "cli.forward-unauthorized", ...target });
  if (status === 403) return new PortForwardError({ code: "cli.forward-forbidden", ...target });
  if (status === 404) return new PortForwardError({ code: "cli.forward-no-pod", ...target });
  if (Number.isFinite(status)) return new PortForwardError({ code: "cli.forward-refused", ...target, status });
  if (/handshake has timed out/.test(message)) {
    return new PortForwardError({ code: "cli.forward-timeout", ...target, afterMs: timeoutMs });
  }
  return new PortForwardError({ code: "cli.forward-unreachable", ...target, reason: message });
}

function insideError(target: PodPort, reason: string): PortForwardError {
  if (/connection refused/i.test(reason)) return new PortForwardError({ code: "cli.forward-not-listening", ...target });
  return new PortForwardError({ code: "cli.forward-inside", ...target, reason: reason.slice(0, 500) });
}
