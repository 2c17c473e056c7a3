/**
 * An API server in this process, as far as control needs one: objects in memory, lists, watches, patches and token reviews
 * over HTTP, with every request's verb and resource written down as RBAC would see it.
 */
import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { KubeConnection } from "../../control/sources/kubernetes/connection.ts";
import { apiResources } from "../../control/sources/kubernetes/paths.ts";

export interface StoredObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: Meta;
  readonly [field: string]: unknown;
}

interface Meta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly [field: string]: unknown;
}

/** One request as RBAC sees it. `name` is what resourceNames are compared with; empty where the request names none. */
export interface Access {
  readonly verb: "get" | "list" | "watch" | "create" | "update" | "patch" | "delete";
  /** `pods`, `pods/status`, `leases.coordination.k8s.io` */
  readonly resource: string;
  readonly namespace: string;
  readonly name: string;
}

export class FakeApiServer {
  readonly accesses: Access[] = [];
  /** Who may do what; what it refuses is answered with 403. */
  allows: (access: Access) => boolean = () => true;
  /** The status of a token that is reviewed. */
  reviews: (token: string, audiences: readonly string[]) => object = () => ({ authenticated: false });
  readonly #collections = new Map<string, Collection>();
  #server: Server;
  #port = 0;
  #version = 100;

  constructor() {
    for (const [kind, { group, version, plural }] of Object.entries(apiResources)) {
      const apiVersion = group === "" ? version : `${group}/${version}`;
      this.#collections.set(`${group}/${plural}`, new Collection(kind, apiVersion));
    }
    this.#server = this.#newServer();
  }

  async start(): Promise<void> {
    this.#server = this.#newServer();
    await new Promise<void>((resolve) => this.#server.listen(this.#port, "127.0.0.1", resolve));
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Cuts every connection; what is stored stays. */
  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    for (const collection of this.#collections.values()) collection.watchers.clear();
    await closed;
  }

  connection(): KubeConnection {
    return {
      server: new URL(`http://127.0.0.1:${this.#port}`),
      namespace: "default",
      credentials: () => Promise.resolve({ headers: { authorization: "Bearer x" }, tls: {} }),
      refresh: () => undefined,
    };
  }

  /** Whether objects of this kind are served. */
  knows(object: object): boolean {
    const { apiVersion = "", kind } = object as StoredObject;
    const group = apiVersion.includes("/") ? (apiVersion.split("/")[0] ?? "") : "";
    return [...this.#collections].some(([key, one]) => one.kind === kind && key.startsWith(`${group}/`));
  }

  /** Creates or replaces, as a user would. */
  put(object: object): StoredObject {
    const given = object as StoredObject;
    const collection = this.#of(given);
    return this.#store(collection, collection.objects.has(keyOf(given.metadata)) ? "MODIFIED" : "ADDED", given);
  }

  remove(kind: string, namespace: string, name: string): void {
    const collection = [...this.#collections.values()].find((one) => one.kind === kind);
    const object = collection?.objects.get(`${namespace}/${name}`);
    if (collection !== undefined && object !== undefined) this.#delete(collection, object);
  }

  find(kind: string, namespace: string, name: string): StoredObject | undefined {
    return [...this.#collections.values()].find((one) => one.kind === kind)?.objects.get(`${namespace}/${name}`);
  }

  all(kinds: readonly string[]): StoredObject[] {
    return [...this.#collections.values()].flatMap((one) =>
      kinds.includes(one.kind) ? [...one.objects.values()] : [],
    );
  }

  /** Kinds whose definition is not installed. */
  withhold(...kinds: string[]): void {
    for (const collection of this.#collections.values())
      if (kinds.includes(collection.kind)) collection.isServed = false;
  }

  install(...kinds: string[]): void {
    for (const collection of this.#collections.values())
      if (kinds.includes(collection.kind)) collection.isServed = true;
  }

  #of({ apiVersion = "v1", kind = "" }: StoredObject): Collection {
    const group = apiVersion.includes("/") ? (apiVersion.split("/")[0] ?? "") : "";
    for (const [key, collection] of this.#collections)
      if (collection.kind === kind && key.startsWith(`${group}/`)) return collection;
    throw new Error(`no such kind: ${apiVersion} ${kind}`);
  }

  #newServer(): Server {
    return createServer((request, response) => void this.#serve(request, response));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://x");
    const target = parsePath(url.pathname);
    const collection = target && this.#collections.get(`${target.group}/${target.plural}`);
    if (target === undefined || collection === undefined || !collection.isServed)
      return refuse(response, 404, "NotFound", `the server could not find ${url.pathname}`);
    const selected = /(?:^|,)metadata\.name=([^,]+)/.exec(url.searchParams.get("fieldSelector") ?? "")?.[1] ?? "";
    const isWatch = url.searchParams.get("watch") === "true" || url.searchParams.get("watch") === "1";
    const access = accessOf(request.method ?? "", target, isWatch, selected);
    this.accesses.push(access);
    if (!this.allows(access)) {
      const what = `${access.verb} ${access.resource}`;
      return refuse(response, 403, "Forbidden", `not allowed: ${what}`);
    }
    const body = await readBody(request);
    const { namespace, name, sub } = target;
    const isMine = (object: StoredObject): boolean =>
      (namespace === "" || object.metadata.namespace === namespace) &&
      (selected === "" || object.metadata.name === selected);
    const found = collection.objects.get(`${namespace}/${name}`);
    switch (access.verb) {
      case "watch": {
        response.writeHead(200, { "content-type": "application/json" });
        response.flushHeaders();
        const since = Number(url.searchParams.get("resourceVersion") ?? 0);
        const send = (event: WatchEvent): void => void (isMine(event.object) && response.write(line(event)));
        for (const event of collection.events) if (event.version > since) send(event);
        collection.watchers.add(send);
        response.on("close", () => collection.watchers.delete(send));
        return;
      }
      case "list":
        return answer(response, 200, {
          kind: `${collection.kind}List`,
          apiVersion: collection.apiVersion,
          metadata: { resourceVersion: String(this.#version) },
          items: [...collection.objects.values()].filter(isMine).map(bare),
        });
      case "get":
        return found === undefined ? missing(response, collection, name) : answer(response, 200, found);
      case "create": {
        if (collection.kind === "TokenReview") {
          const { spec } = body as { spec: { token: string; audiences: string[] } };
          return answer(response, 201, { ...body, status: this.reviews(spec.token, spec.audiences) });
        }
        const object = body as unknown as StoredObject;
        const metadata = { ...object.metadata, ...(namespace === "" ? {} : { namespace }) };
        if (collection.objects.has(keyOf(metadata))) {
          return refuse(response, 409, "AlreadyExists", `${metadata.name} already exists`);
        }
        return answer(response, 201, this.#store(collection, "ADDED", { ...object, metadata }));
      }
      case "update":
      case "patch": {
        if (found === undefined) return missing(response, collection, name);
        const isApply = request.headers["content-type"]?.startsWith("application/apply-patch") === true;
        const manager = url.searchParams.get("fieldManager") ?? "";
        const changed =
          access.verb === "update"
            ? (body as unknown as StoredObject)
            : isApply
              ? collection.applyConditions(found, body, manager)
              : (merge(found, body) as StoredObject);
        const expected = (body["metadata"] as Meta | undefined) ?? found.metadata;
        const stale = expected.resourceVersion ?? found.metadata.resourceVersion;
        if (stale !== found.metadata.resourceVersion || (expected.uid ?? found.metadata.uid) !== found.metadata.uid)
          return refuse(response, 409, "Conflict", `${name} has been modified`);
        const next = sub === "status" ? { ...found, status: changed["status"] } : changed;
        const metadata = { ...found.metadata, ...changed.metadata };
        return answer(response, 200, this.#store(collection, "MODIFIED", { ...next, metadata }));
      }
      case "delete":
        if (found === undefined) return missing(response, collection, name);
        this.#delete(collection, found);
        return answer(response, 200, { kind: "Status", status: "Success" });
    }
  }

  #store(collection: Collection, type: "ADDED" | "MODIFIED", object: StoredObject): StoredObject {
    const before = collection.objects.get(keyOf(object.metadata));
    const kept = { kind: collection.kind, apiVersion: collection.apiVersion };
    const metadata = {
      creationTimestamp: "2026-01-01T00:00:00Z",
      ...object.metadata,
      uid: object.metadata.uid ?? before?.metadata.uid ?? randomUUID(),
      resourceVersion: String(++this.#version),
    };
    const stored = { ...kept, ...object, metadata };
    collection.objects.set(keyOf(metadata), stored);
    collection.say({ type, object: stored, version: this.#version });
    return stored;
  }

  #delete(collection: Collection, object: StoredObject): void {
    collection.objects.delete(keyOf(object.metadata));
    const metadata = { ...object.metadata, resourceVersion: String(++this.#version) };
    collection.say({ type: "DELETED", object: { ...object, metadata }, version: this.#version });
  }
}

interface WatchEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly object: StoredObject;
  readonly version: number;
}

class Collection {
  readonly kind: string;
  readonly apiVersion: string;
  readonly objects = new Map<string, StoredObject>();
  readonly watchers = new Set<(event: WatchEvent) => void>();
  readonly events: WatchEvent[] = [];
  isServed = true;
  /** Which condition types of an object a field manager has applied. */
  readonly #applied = new Map<string, readonly string[]>();

  constructor(kind: string, apiVersion: string) {
    this.kind = kind;
    this.apiVersion = apiVersion;
  }

  say(event: WatchEvent): void {
    this.events.push(event);
    for (const watcher of this.watchers) watcher(event);
  }

  /** Server-side apply of status.conditions: a list by type, where what a manager no longer names goes. */
  applyConditions(found: StoredObject, body: Record<string, unknown>, manager: string): StoredObject {
    const listOf = (object: Record<string, unknown>): { type: string }[] =>
      (object["status"] as { conditions?: { type: string }[] } | undefined)?.conditions ?? [];
    const key = `${keyOf(found.metadata)} ${manager}`;
    const own = listOf(body);
    const replaced = new Set([...(this.#applied.get(key) ?? []), ...own.map(({ type }) => type)]);
    this.#applied.set(
      key,
      own.map(({ type }) => type),
    );
    const conditions = [...listOf(found).filter(({ type }) => !replaced.has(type)), ...own];
    return { ...found, status: { ...(found["status"] as object | undefined), conditions } };
  }
}

interface Target {
  readonly group: string;
  readonly plural: string;
  readonly namespace: string;
  readonly name: string;
  readonly sub: string;
}

function parsePath(path: string): Target | undefined {
  const [root, ...rest] = path.split("/").slice(1).map(decodeURIComponent);
  const group = root === "apis" ? (rest.shift() ?? "") : "";
  if (root !== "apis" && root !== "api") return undefined;
  const [, first = "", second = "", third = "", ...more] = rest;
  if (first === "namespaces" && third !== "" && third !== "status") {
    return { group, namespace: second, plural: third, name: more[0] ?? "", sub: more[1] ?? "" };
  }
  return { group, namespace: "", plural: first, name: second, sub: third };
}

function accessOf(method: string, target: Target, isWatch: boolean, selected: string): Access {
  const { group, plural, namespace, name, sub } = target;
  const verbs = { POST: "create", PUT: "update", PATCH: "patch", DELETE: "delete" } as const;
  const reading = name !== "" ? "get" : isWatch ? "watch" : "list";
  const base = group === "" ? plural : `${plural}.${group}`;
  const resource = sub === "" ? base : `${plural}/${sub}${group === "" ? "" : `.${group}`}`;
  const verb = verbs[method as keyof typeof verbs] ?? reading;
  return { verb, resource, namespace, name: name === "" ? selected : name };
}

/** RFC 7396. */
function merge(target: unknown, patch: unknown): unknown {
  if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return patch;
  const result = new Map(Object.entries(target ?? {})) as Map<string, unknown>;
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) result.delete(key);
    else result.set(key, merge(result.get(key), value));
  }
  return Object.fromEntries(result);
}

async function readBody(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString("utf8");
  return text === "" ? {} : (JSON.parse(text) as Record<string, unknown>);
}

function missing(response: ServerResponse, { kind }: Collection, name: string): void {
  refuse(response, 404, "NotFound", `${kind} "${name}" not found`);
}

function refuse(response: ServerResponse, code: number, reason: string, message: string): void {
  answer(response, code, { kind: "Status", apiVersion: "v1", status: "Failure", code, reason, message });
}

function answer(response: ServerResponse, status: number, value: object): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(value));
}

function line({ type, object }: WatchEvent): string {
  return `${JSON.stringify({ type, object })}\n`;
}

/** Items of a list of a built-in kind carry neither. */
function bare({ apiVersion: _apiVersion, kind: _kind, ...rest }: StoredObject): object {
  return rest;
}

function keyOf({ namespace = "", name }: Meta): string {
  return `${namespace}/${name}`;
}
