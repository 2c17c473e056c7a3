/**
 * One HTTP/1.1 request to an API server, on a pooled connection or one of its own, with a deadline for every wait. No
 * retries, no meaning: that is client.ts.
 */
import { Agent as HttpAgent, request as httpRequest, type ClientRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { Socket } from "node:net";
import { messageOf } from "../../../core/base/errors.ts";
import type { Clock } from "../../../core/base/clock.ts";
import type { Credentials, KubeConnection } from "./connection.ts";
import { KubeError, type KubeErrorData } from "./errors.ts";

export interface HttpRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  readonly signal: AbortSignal | undefined;
  /** Until the response's head is here, in milliseconds. */
  readonly headTimeoutMs: number;
  /** true: a connection that serves nothing else, so that a watch blocks nobody. */
  readonly ownConnection: boolean;
}

export interface HttpResponse {
  readonly message: IncomingMessage;
  readonly abort: (error: KubeError) => void;
  /** The reason given to `abort`, or what befell the connection. */
  readonly failure: () => KubeError | undefined;
}

/** A dead peer is noticed by the kernel after this and ten probes a second apart. */
const keepAliveMs = 15_000;

export class HttpTransport {
  readonly #connection: KubeConnection;
  readonly #clock: Clock;
  #pool: { readonly key: string; readonly agent: HttpAgent } | undefined;

  constructor(connection: KubeConnection, clock: Clock) {
    this.#connection = connection;
    this.#clock = clock;
  }

  /** Answers with the response's head; its body is the caller's to read, or to abort. */
  async send(request: HttpRequest): Promise<HttpResponse | KubeError> {
    const credentials = await this.#connection.credentials();
    if (request.signal?.aborted === true) return fail(request, { code: "kube.aborted" });
    if (credentials instanceof KubeError) return credentials;
    const first = await this.#attempt(request, credentials);
    // The server closed an idle connection just as we took it: that says nothing about the request.
    if (first instanceof Reused && request.method === "GET") {
      const second = await this.#attempt(request, credentials, true);
      return second instanceof Reused ? second.error : second;
    }
    return first instanceof Reused ? first.error : first;
  }

  /** Closes idle connections. */
  close(): void {
    this.#pool?.agent.destroy();
    this.#pool = undefined;
  }

  #attempt(
    request: HttpRequest,
    credentials: Credentials,
    ownConnection = request.ownConnection,
  ): Promise<HttpResponse | KubeError | Reused> {
    const { server } = this.#connection;
    const target = new URL(server);
    target.pathname = `${server.pathname.replace(/\/$/, "")}${request.path}`;
    target.search = request.query.toString();
    const plain = server.protocol === "http:";
    const agent = credentials.agent ?? (ownConnection ? false : this.#agent(plain, credentials));
    const options = {
      method: request.method,
      headers: {
        ...credentials.headers,
        ...request.headers,
        ...(request.body === undefined ? {} : { "content-length": String(Buffer.byteLength(request.body)) }),
      },
      agent,
      ...(plain ? {} : credentials.tls),
    };
    const { promise, resolve } = Promise.withResolvers<HttpResponse | KubeError | Reused>();
    let sent: ClientRequest;
    try {
      sent = plain ? httpRequest(target, options) : httpsRequest(target, options);
    } catch (thrown) {
      // Material that TLS cannot use, or a header that is none.
      return Promise.resolve(new KubeError({ code: "kube.credentials", reason: messageOf(thrown) }));
    }
    let failure: KubeError | undefined;
    const abort = (error: KubeError): void => {
      failure ??= error;
      sent.destroy();
      resolve(failure);
    };
    const onAbort = (): void => abort(fail(request, { code: "kube.aborted" }));
    request.signal?.addEventListener("abort", onAbort, { once: true });
    const cancelTimer = this.#clock.after(request.headTimeoutMs, () =>
      abort(fail(request, { code: "kube.timeout", server: server.origin, afterMs: request.headTimeoutMs })),
    );
    sent.once("socket", (socket: Socket) => socket.setKeepAlive(true, keepAliveMs));
    sent.on("error", (error: NodeJS.ErrnoException) => {
      const reason = error.code ?? error.message;
      failure ??= fail(request, { code: "kube.unreachable", server: server.origin, reason });
      resolve(sent.reusedSocket && closedUnderUs.has(error.code ?? "") ? new Reused(failure) : failure);
    });
    sent.once("close", () => {
      cancelTimer();
      request.signal?.removeEventListener("abort", onAbort);
      resolve(failure ?? fail(request, { code: "kube.unreachable", server: server.origin, reason: "closed" }));
    });
    sent.once("response", (message) => {
      cancelTimer();
      message.on("error", (error: NodeJS.ErrnoException) => {
        failure ??= fail(request, {
          code: "kube.unreachable",
          server: server.origin,
          reason: error.code ?? error.message,
        });
      });
      resolve({ message, abort, failure: () => failure });
    });
    sent.end(request.body);
    return promise;
  }

  /** One pool for as long as the TLS material stays the same. */
  #agent(plain: boolean, { tls }: Credentials): HttpAgent {
    const key = plain ? "plain" : JSON.stringify(tls);
    if (this.#pool?.key === key) return this.#pool.agent;
    // Requests under way on the old pool end by themselves.
    const old = this.#pool?.agent;
    const options = {
      keepAlive: true,
      keepAliveMsecs: keepAliveMs,
      maxSockets: 16,
      maxFreeSockets: 4,
      timeout: 90_000,
    };
    const agent = plain ? new HttpAgent(options) : new HttpsAgent({ ...options, ...tls });
    this.#pool = { key, agent };
    if (old !== undefined) for (const idle of Object.values(old.freeSockets).flat()) idle?.destroy();
    return agent;
  }
}

const closedUnderUs: ReadonlySet<string> = new Set(["ECONNRESET", "EPIPE"]);

/** A pooled connection turned out to be closed: the request may not have been seen. */
class Reused {
  readonly error: KubeError;

  constructor(error: KubeError) {
    this.error = error;
  }
}

type WithoutRequest<Data> = Data extends { readonly method: string } ? Omit<Data, "method" | "path"> : never;

/** The error with the request's name in it. */
export function fail(request: Pick<HttpRequest, "method" | "path">, data: WithoutRequest<KubeErrorData>): KubeError {
  return new KubeError({ ...data, method: request.method, path: request.path });
}
