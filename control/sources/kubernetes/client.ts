/**
 * Requests to an API server: JSON both ways, and every failure returned as a KubeError. Nothing is retried here but a GET
 * that met a connection which the server was closing. Tokens never reach a log or an error.
 */
import type { IncomingMessage } from "node:http";
import { systemClock, type Clock } from "../../../core/base/clock.ts";
import type { Log } from "../../../core/base/log.ts";
import { isRecord } from "../fields.ts";
import type { KubeConnection } from "./connection.ts";
import { KubeError } from "./errors.ts";
import { fail, HttpTransport, type HttpRequest, type HttpResponse } from "./http.ts";

export interface ClientOptions {
  readonly connection: KubeConnection;
  readonly log: Log;
  /** Named to the API server, e.g. `ambientd-control/0.1.0`. */
  readonly userAgent: string;
  readonly clock?: Clock;
  /** For a whole request, in milliseconds. */
  readonly timeoutMs?: number;
  /** The largest answer that is read, in bytes. */
  readonly limitBytes?: number;
}

/** Values that are undefined are left out; true becomes `true`. */
export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface RequestOptions {
  readonly query?: Query;
  readonly signal?: AbortSignal;
  /** For the whole request, in milliseconds. */
  readonly timeoutMs?: number;
}

export interface StreamOptions {
  readonly query?: Query;
  readonly signal?: AbortSignal;
  /** The stream is given up when nothing came for this long, in milliseconds; absent: never. */
  readonly silenceMs?: number;
  /** Once the server has said yes. */
  readonly onOpen?: () => void;
  /** Called in order, never after the stream's promise settled. The bytes are the callee's to keep. */
  readonly onData: (chunk: Buffer) => void;
}

/** A page of objects. Items of built-in kinds carry neither apiVersion nor kind. */
export interface KubeList<T> {
  readonly metadata: { readonly resourceVersion?: string; readonly continue?: string };
  readonly items: readonly T[];
}

/** RFC 7396, server-side apply, RFC 6902, and Kubernetes' own. */
export type PatchType = "merge" | "apply" | "json" | "strategic";

export interface DeleteOptions extends RequestOptions {
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
  readonly propagationPolicy?: "Background" | "Foreground" | "Orphan";
  readonly gracePeriodSeconds?: number;
}

export class KubernetesClient {
  readonly connection: KubeConnection;
  readonly #options: Required<ClientOptions>;
  readonly #transport: HttpTransport;

  constructor(options: ClientOptions) {
    this.#options = { clock: systemClock, timeoutMs: 30_000, limitBytes: 128 * 1024 * 1024, ...options };
    this.connection = options.connection;
    this.#transport = new HttpTransport(options.connection, this.#options.clock);
  }

  get<T>(path: string, options: RequestOptions = {}): Promise<T | KubeError> {
    return this.#json<T>("GET", path, undefined, options);
  }

  /** One page: `limit` and `continue` are the query's. */
  list<T>(path: string, query: Query = {}, options: RequestOptions = {}): Promise<KubeList<T> | KubeError> {
    return this.#json<KubeList<T>>("GET", path, undefined, { ...options, query: { ...options.query, ...query } });
  }

  create<T>(path: string, body: unknown, options: RequestOptions = {}): Promise<T | KubeError> {
    return this.#json<T>("POST", path, { type: "application/json", value: body }, options);
  }

  /** The body's metadata.resourceVersion, if given, must be the current one: else kube.conflict. */
  replace<T>(path: string, body: unknown, options: RequestOptions = {}): Promise<T | KubeError> {
    return this.#json<T>("PUT", path, { type: "application/json", value: body }, options);
  }

  /** @param query for `apply`: fieldManager, and force. */
  patch<T>(
    path: string,
    body: unknown,
    type: PatchType,
    query: Query = {},
    options: RequestOptions = {},
  ): Promise<T | KubeError> {
    return this.#json<T>("PATCH", path, { type: patchTypes[type], value: body }, { ...options, query });
  }

  /** Answers with the object or a Status, as the API server does. */
  delete(path: string, options: DeleteOptions = {}): Promise<Record<string, unknown> | KubeError> {
    const { preconditions, propagationPolicy, gracePeriodSeconds, ...rest } = options;
    const value = {
      apiVersion: "v1",
      kind: "DeleteOptions",
      ...(preconditions === undefined ? {} : { preconditions }),
      ...(propagationPolicy === undefined ? {} : { propagationPolicy }),
      ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }),
    };
    return this.#json("DELETE", path, { type: "application/json", value }, rest);
  }

  /** Text instead of JSON: logs, /readyz, /metrics. */
  async text(path: string, options: RequestOptions = {}): Promise<string | KubeError> {
    const body = await this.#whole("GET", path, undefined, options, "*/*");
    return body instanceof KubeError ? body : body.toString("utf8");
  }

  /**
   * An answer that goes on: a watch, or a log that is followed. Settles when it ended: undefined if the server ended it
   * in order. It has a connection of its own.
   */
  async stream(path: string, options: StreamOptions): Promise<KubeError | undefined> {
    const { clock, timeoutMs } = this.#options;
    const request = this.#request("GET", path, undefined, options, "application/json, */*", timeoutMs, true);
    const response = await this.#send(request);
    if (response instanceof KubeError) return response;
    const { message, abort, failure } = response;
    if (message.statusCode !== 200) return this.#refusal(request, response);
    options.onOpen?.();
    const { promise, resolve } = Promise.withResolvers<KubeError | undefined>();
    const { silenceMs } = options;
    const silent = (): void =>
      abort(fail(request, { code: "kube.timeout", server: this.connection.server.origin, afterMs: silenceMs ?? 0 }));
    let cancelTimer = silenceMs === undefined ? undefined : clock.after(silenceMs, silent);
    message.on("data", (chunk: Buffer) => {
      if (silenceMs !== undefined) {
        cancelTimer?.();
        cancelTimer = clock.after(silenceMs, silent);
      }
      if (failure() === undefined) options.onData(chunk);
    });
    message.once("close", () => {
      cancelTimer?.();
      resolve(failure() ?? (message.complete ? undefined : this.#cut(request)));
    });
    return promise;
  }

  /** Closes idle connections; what is under way goes on. */
  close(): void {
    this.#transport.close();
  }

  async #json<T>(
    method: string,
    path: string,
    body: { readonly type: string; readonly value: unknown } | undefined,
    options: RequestOptions,
  ): Promise<T | KubeError> {
    const bytes = await this.#whole(method, path, body, options, "application/json");
    if (bytes instanceof KubeError) return bytes;
    const value = parseJson(bytes);
    return isRecord(value)
      ? (value as T)
      : fail({ method, path }, { code: "kube.malformed", reason: "not a JSON object" });
  }

  /** The whole body of a good answer. */
  async #whole(
    method: string,
    path: string,
    body: { readonly type: string; readonly value: unknown } | undefined,
    options: RequestOptions,
    accept: string,
  ): Promise<Buffer | KubeError> {
    const { clock, limitBytes } = this.#options;
    const timeoutMs = options.timeoutMs ?? this.#options.timeoutMs;
    const endMs = clock.nowMs() + timeoutMs;
    const request = this.#request(method, path, body, options, accept, timeoutMs, false);
    const response = await this.#send(request);
    if (response instanceof KubeError) return response;
    const { abort } = response;
    const late = (): void =>
      abort(fail(request, { code: "kube.timeout", server: this.connection.server.origin, afterMs: timeoutMs }));
    const cancelTimer = clock.after(Math.max(0, endMs - clock.nowMs()), late);
    const status = response.message.statusCode ?? 0;
    const result =
      status >= 200 && status < 300
        ? await this.#readBody(request, response, limitBytes)
        : await this.#refusal(request, response);
    cancelTimer();
    return result;
  }

  async #send(request: HttpRequest): Promise<HttpResponse | KubeError> {
    const response = await this.#transport.send(request);
    if (!(response instanceof KubeError) && response.message.statusCode === 401) this.connection.refresh();
    return response;
  }

  #request(
    method: string,
    path: string,
    body: { readonly type: string; readonly value: unknown } | undefined,
    { query, signal }: RequestOptions,
    accept: string,
    headTimeoutMs: number,
    ownConnection: boolean,
  ): HttpRequest {
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries(query ?? {}))
      if (value !== undefined) parameters.set(name, String(value));
    return {
      method,
      path,
      query: parameters,
      headers: {
        accept,
        "user-agent": this.#options.userAgent,
        ...(body === undefined ? {} : { "content-type": body.type }),
      },
      body: body === undefined ? undefined : JSON.stringify(body.value),
      signal,
      headTimeoutMs,
      ownConnection,
    };
  }

  async #readBody(request: HttpRequest, response: HttpResponse, limitBytes: number): Promise<Buffer | KubeError> {
    const { message, abort, failure } = response;
    const { promise, resolve } = Promise.withResolvers<Buffer | KubeError>();
    const chunks: Buffer[] = [];
    let total = 0;
    message.on("data", (chunk: Buffer) => {
      total += chunk.length;
      if (total > limitBytes) abort(fail(request, { code: "kube.too-large", limitBytes }));
      else chunks.push(chunk);
    });
    message.once("close", () => {
      const error = failure() ?? (message.complete ? undefined : this.#cut(request));
      resolve(error ?? Buffer.concat(chunks, total));
    });
    return promise;
  }

  /** An answer that isn't 2xx, read as far as it says why. */
  async #refusal(request: HttpRequest, response: HttpResponse): Promise<KubeError> {
    const { clock, timeoutMs } = this.#options;
    const cancelTimer = clock.after(timeoutMs, () =>
      response.abort(
        fail(request, { code: "kube.timeout", server: this.connection.server.origin, afterMs: timeoutMs }),
      ),
    );
    const body = await this.#readBody(request, response, 1024 * 1024);
    cancelTimer();
    return refusalOf(request, response.message, body instanceof KubeError ? Buffer.alloc(0) : body);
  }

  #cut(request: HttpRequest): KubeError {
    const reason = "the connection was cut";
    return fail(request, { code: "kube.unreachable", server: this.connection.server.origin, reason });
  }
}

const patchTypes: Record<PatchType, string> = {
  merge: "application/merge-patch+json",
  apply: "application/apply-patch+yaml", // JSON is YAML
  json: "application/json-patch+json",
  strategic: "application/strategic-merge-patch+json",
};

const codes: Readonly<
  Record<number, "kube.unauthorized" | "kube.forbidden" | "kube.not-found" | "kube.conflict" | "kube.gone">
> = {
  401: "kube.unauthorized",
  403: "kube.forbidden",
  404: "kube.not-found",
  409: "kube.conflict",
  410: "kube.gone",
};

/** meta/v1 Status, or whatever a proxy in between wrote. */
function refusalOf(request: HttpRequest, message: IncomingMessage, body: Buffer): KubeError {
  const status = message.statusCode ?? 0;
  const value = parseJson(body);
  return statusError(
    request,
    status,
    isRecord(value) ? value : { message: body.toString("utf8", 0, 300).trim() },
    message.headers["retry-after"],
  );
}

/**
 * The error that a meta/v1 Status object tells of: as the body of an answer, or as the object of a watch's ERROR event.
 * @param status the HTTP status, or the Status's own code.
 * @param retryAfter the header's value: seconds.
 */
export function statusError(
  request: Pick<HttpRequest, "method" | "path">,
  status: number,
  value: Readonly<Record<string, unknown>>,
  retryAfter?: string,
): KubeError {
  const details = isRecord(value["details"]) ? value["details"] : {};
  const seconds = Number(retryAfter ?? details["retryAfterSeconds"] ?? NaN);
  return fail(request, {
    code: codes[status] ?? "kube.status",
    status,
    reason: typeof value["reason"] === "string" ? value["reason"] : "",
    message: (typeof value["message"] === "string" ? value["message"] : "").slice(0, 1000),
    ...(Number.isFinite(seconds) && seconds >= 0 ? { retryAfterMs: seconds * 1000 } : {}),
  });
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    return undefined;
  }
}
