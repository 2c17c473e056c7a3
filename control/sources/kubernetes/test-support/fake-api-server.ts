/** A FakeCluster behind HTTP, with everything that can go wrong on the way, on request. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { KubeConnection } from "../connection.ts";
import { FakeCluster, keyIn, Refusal, type FakeObject, type Json } from "./fake-cluster.ts";

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
  readonly body: Json | undefined;
}

interface OpenWatch {
  readonly response: ServerResponse;
  readonly collection: string;
  readonly matches: (object: FakeObject) => boolean;
  sentVersion: number;
  /** Keys that were told of: an object that leaves the selection is told of as deleted. */
  readonly told: Set<string>;
}

export class FakeApiServer {
  readonly cluster = new FakeCluster();
  readonly requests: SeenRequest[] = [];
  /** Answers in place of the server; false: it goes on as usual. */
  intercept: (request: SeenRequest, response: ServerResponse) => boolean = () => false;
  /** No watch says anything any more, as if the line were dead. */
  isMuted = false;
  #server: Server | undefined;
  #port = 0;
  readonly #watches = new Set<OpenWatch>();
  /** Continue tokens → the rest of the list and its version. */
  readonly #pages = new Map<string, { items: FakeObject[]; version: number }>();
  #tokens = 0;

  constructor() {
    this.cluster.onChange(() => this.#pump());
  }

  async start(): Promise<this> {
    const server = createServer((request, response) => void this.#serve(request, response));
    server.keepAliveTimeout = 60_000;
    await new Promise<void>((resolve) => server.listen(this.#port, "127.0.0.1", resolve));
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
    return this;
  }

  /** Every connection is cut; the objects stay. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    this.#watches.clear();
    server?.closeAllConnections();
    await new Promise<void>((resolve) => (server === undefined ? resolve() : server.close(() => resolve())));
  }

  connection(token = "secret-token"): KubeConnection {
    return {
      server: new URL(`http://127.0.0.1:${this.#port}`),
      namespace: "default",
      credentials: () => Promise.resolve({ headers: { authorization: `Bearer ${token}` }, tls: {} }),
      refresh: () => undefined,
    };
  }

  get openWatches(): number {
    return this.#watches.size;
  }

  /** @param half a piece of an event that is sent before. */
  cutWatches(half = ""): void {
    for (const { response } of this.#watches) {
      if (half !== "") response.write(half, () => response.destroy());
      else response.destroy();
    }
    this.#watches.clear();
  }

  /** Sends a line as it is to every watch of a collection. */
  sendLine(collection: string, line: string): void {
    this.send(collection, `${line}\n`);
  }

  send(collection: string, bytes: string): void {
    for (const watch of this.#watches) if (watch.collection === collection) watch.response.write(bytes);
  }

  sendBookmark(collection: string): void {
    const metadata = { resourceVersion: String(this.cluster.version) };
    this.sendLine(collection, JSON.stringify({ type: "BOOKMARK", object: { metadata } }));
  }

  /** Lists that began before are answered with 410 from now on. */
  expirePages(): void {
    this.#pages.clear();
  }

  count(method: string, pattern: RegExp): number {
    return this.requests.filter((request) => request.method === method && pattern.test(request.path)).length;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://x");
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const seen: SeenRequest = {
      method: request.method ?? "",
      path: url.pathname,
      query: url.searchParams,
      headers: request.headers,
      body: text === "" ? undefined : (JSON.parse(text) as Json),
    };
    this.requests.push(seen);
    if (this.intercept(seen, response)) return;
    const { collection, namespace, name, subresource } = parsePath(url.pathname);
    if (!this.cluster.exists(collection)) {
      response.writeHead(404, { "content-type": "text/plain" }).end("404 page not found\n");
      return;
    }
    if (seen.method === "GET" && name === "") {
      if (seen.query.get("watch") === "true") this.#watch(seen, response, collection, namespace);
      else answer(response, this.#list(seen, collection, namespace));
      return;
    }
    answer(response, this.#act(seen, collection, `${namespace}/${name}`, subresource));
  }

  #act(request: SeenRequest, collection: string, key: string, _subresource: string): FakeObject | Refusal {
    const { cluster } = this;
    const body = request.body ?? {};
    const missing = new Refusal(404, "NotFound", `${key} not found`);
    switch (request.method) {
      case "GET":
        return cluster.get(collection, key) ?? missing;
      case "POST":
        return cluster.create(collection, body);
      case "PUT":
        return cluster.replace(collection, key, body);
      case "DELETE":
        return cluster.remove(collection, key) ?? missing;
      case "PATCH":
        return String(request.headers["content-type"]).includes("apply")
          ? cluster.apply(collection, key, body, request.query.get("fieldManager") ?? "")
          : cluster.mergePatch(collection, key, body);
      default:
        return new Refusal(405, "MethodNotAllowed", request.method);
    }
  }

  #list(request: SeenRequest, collection: string, namespace: string): Json | Refusal {
    const limit = Number(request.query.get("limit") ?? 0);
    const token = request.query.get("continue");
    const page = token === null ? undefined : this.#pages.get(token);
    if (token !== null && page === undefined) return new Refusal(410, "Expired", "the continue parameter is too old");
    const matches = selector(request, namespace);
    const items = page?.items ?? structuredClone(this.cluster.all(collection).filter(matches));
    const version = page?.version ?? this.cluster.version;
    const rest = limit > 0 ? items.slice(limit) : [];
    const next = rest.length > 0 ? `page-${++this.#tokens}` : undefined;
    if (next !== undefined) this.#pages.set(next, { items: rest, version });
    return {
      kind: "List",
      apiVersion: "v1",
      metadata: { resourceVersion: String(version), ...(next === undefined ? {} : { continue: next }) },
      // As the API server does it for built-in kinds.
      items: items.slice(0, items.length - rest.length).map(({ kind: _kind, apiVersion: _version, ...item }) => item),
    };
  }

  #watch(request: SeenRequest, response: ServerResponse, collection: string, namespace: string): void {
    const from = Number(request.query.get("resourceVersion"));
    if (from < this.cluster.compacted) {
      answer(response, new Refusal(410, "Expired", "too old resource version"));
      return;
    }
    response.writeHead(200, { "content-type": "application/json" });
    response.flushHeaders();
    const matches = selector(request, namespace);
    const told = new Set(this.cluster.all(collection).filter(matches).map(keyIn));
    const watch: OpenWatch = { response, collection, matches, sentVersion: from, told };
    this.#watches.add(watch);
    response.on("close", () => this.#watches.delete(watch));
    this.#pump();
  }

  #pump(): void {
    if (this.isMuted) return;
    for (const watch of this.#watches) {
      if (!this.cluster.exists(watch.collection)) {
        watch.response.end();
        continue;
      }
      for (const event of this.cluster.history) {
        if (event.version <= watch.sentVersion || event.collection !== watch.collection) continue;
        watch.sentVersion = event.version;
        const key = keyIn(event.object);
        const isIn = watch.matches(event.object) && event.type !== "DELETED";
        if (!isIn && !watch.told.has(key) && !watch.matches(event.object)) continue;
        if (isIn) watch.told.add(key);
        else watch.told.delete(key);
        const { type, object } = event;
        watch.response.write(`${JSON.stringify({ type: isIn ? type : "DELETED", object })}\n`);
      }
    }
  }
}

function answer(response: ServerResponse, body: Json | Refusal): void {
  const isRefusal = body instanceof Refusal;
  response.writeHead(isRefusal ? body.code : 200, { "content-type": "application/json" });
  response.end(JSON.stringify(isRefusal ? body.status() : body));
}

function selector(request: SeenRequest, namespace: string): (object: FakeObject) => boolean {
  const wanted = (request.query.get("fieldSelector") ?? "").split(",").flatMap((term) => {
    const [path, value] = term.split("=");
    return path === undefined || path === "" || value === undefined ? [] : [{ path: path.split("."), value }];
  });
  return (object) =>
    (namespace === "" || object.metadata["namespace"] === namespace) &&
    wanted.every(({ path, value }) => {
      const found = path.reduce<unknown>((at, step) => (at as Json | undefined)?.[step], object);
      return (found ?? "") === value;
    });
}

/** `/apis/apps/v1/namespaces/shop/daemonsets/x/status` and the like. */
function parsePath(path: string): { collection: string; namespace: string; name: string; subresource: string } {
  const steps = path
    .split("/")
    .filter((step) => step !== "")
    .map(decodeURIComponent);
  const root = steps.splice(0, steps[0] === "api" ? 2 : 3);
  const namespaced = steps[0] === "namespaces" && steps.length > 2;
  const namespace = namespaced ? (steps.splice(0, 2)[1] ?? "") : "";
  const [plural = "", name = "", subresource = ""] = steps;
  return { collection: `/${[...root, plural].join("/")}`, namespace, name, subresource };
}
