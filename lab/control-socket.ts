/** The lab's control socket: HTTP and JSON over a unix socket that only the lab's owner can reach. */
import { chmodSync, createReadStream, statSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { messageOf } from "../core/base/errors.ts";
import type { EventLog } from "./events.ts";
import type { Lab } from "./lab.ts";
import { followFile } from "./follow-file.ts";
import { isManifestName } from "./manifest-folder.ts";
import { processActions } from "./processes.ts";
import { isSignal } from "./signals.ts";
import type { LinkControl } from "./link-control.ts";
import { paths } from "./world.ts";

/** An answer that is not 200: what was wrong, in a sentence. */
class Refusal extends Error {
  readonly status: 400 | 404;

  constructor(status: 400 | 404, sentence: string) {
    super(sentence);
    this.status = status;
  }
}

interface Request {
  /** What the path's pattern captured. */
  readonly captured: readonly string[];
  readonly query: URLSearchParams;
  /** JSON, or text where it is none. */
  readonly body: () => Promise<string>;
  readonly response: ServerResponse;
}

/** A value is the answer; undefined says that the response is being written already. */
type Handler = (request: Request) => unknown;

/** Listens until the process ends. Resolves when it can be reached. */
export function listenForControl(lab: Lab, links: LinkControl, events: EventLog): Promise<void> {
  const routes = routesOf(lab, links, events);
  const server = createServer((request, response) => void answer(routes, request, response));
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(paths.socket, () => {
      chmodSync(paths.socket, 0o600);
      resolve();
    });
  });
}

function routesOf(lab: Lab, links: LinkControl, events: EventLog): readonly (readonly [string, RegExp, Handler])[] {
  return [
    ["GET", /^\/status$/, () => lab.status()],
    ["GET", /^\/events$/, ({ response }) => streamEvents(events, response)],
    ["POST", /^\/exec-target$/, async ({ body }) => execTarget(lab, await body())],
    ["POST", /^\/process\/([^/]+)\/([^/]+)$/, async ({ captured, body }) => act(lab, captured, await body())],
    ["GET", /^\/log\/([^/]+)$/, ({ captured, query, response }) => streamLog(captured[0] ?? "", query, response)],
    ["PUT", /^\/manifests\/([^/]+)$/, async ({ captured, body }) => putManifest(lab, captured[0] ?? "", await body())],
    ["DELETE", /^\/manifests\/([^/]+)$/, ({ captured }) => removeManifest(lab, captured[0] ?? "")],
    ["POST", /^\/links\/([^/]+)$/, async ({ captured, body }) => setLink(links, captured[0] ?? "", await body())],
    [
      "GET",
      /^\/links\/([^/]+)$/,
      async ({ captured }) => known(await links.wireCounts(captured[0] ?? ""), "wire on that link"),
    ],
    ["POST", /^\/sniff\/([^/]+)$/, async ({ captured, body }) => startSniffer(links, captured[0] ?? "", await body())],
    [
      "GET",
      /^\/sniff\/([^/]+)$/,
      async ({ captured }) => known(await links.sniffed(captured[0] ?? ""), "sniffer there"),
    ],
    [
      "DELETE",
      /^\/sniff\/([^/]+)$/,
      async ({ captured }) => known(await links.stopSniffing(captured[0] ?? ""), "sniffer there"),
    ],
  ];
}

async function answer(
  routes: ReturnType<typeof routesOf>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    const url = new URL(request.url ?? "/", "http://lab");
    const matching = routes.filter(([, pattern]) => pattern.test(url.pathname));
    const route = matching.find(([method]) => method === request.method);
    if (route === undefined)
      throw new Refusal(
        404,
        matching.length === 0 ? `there is no ${url.pathname}` : `${url.pathname} knows no ${request.method}`,
      );
    const captured = (route[1].exec(url.pathname) ?? []).slice(1).map(decodeURIComponent);
    const result = await route[2]({ captured, query: url.searchParams, body: () => readBody(request), response });
    if (result !== undefined) reply(response, 200, result);
  } catch (error) {
    if (response.headersSent) return void response.destroy();
    reply(response, error instanceof Refusal ? error.status : 500, { error: messageOf(error) });
  }
}

function execTarget(lab: Lab, body: string): unknown {
  const { pod } = parse(body);
  if (typeof pod !== "string") throw new Refusal(400, 'the body must say {"pod": "namespace/name"}');
  return known(lab.execTarget(pod), `pod ${pod} with a network in this lab`);
}

function act(lab: Lab, [name = "", wanted = ""]: readonly string[], body: string): unknown {
  const action = processActions.find((candidate) => candidate === wanted);
  const { signal }: { readonly signal?: unknown } = parse(body);
  if (action === undefined) throw new Refusal(400, `${wanted} is none of ${processActions.join(", ")}`);
  if (signal !== undefined && !isSignal(signal)) throw new Refusal(400, `${JSON.stringify(signal)} is no signal`);
  return known(lab.act(name, action, signal), `process ${name}`);
}

function putManifest(lab: Lab, file: string, text: string): unknown {
  if (!isManifestName(file))
    throw new Refusal(400, `${file} is no manifest's name: it must end in .yaml, .yml or .json`);
  lab.manifests.put(file, text);
  return { file };
}

function removeManifest(lab: Lab, file: string): unknown {
  if (!isManifestName(file) || !lab.manifests.remove(file)) throw new Refusal(404, `there is no manifest ${file}`);
  return { file };
}

async function setLink(links: LinkControl, node: string, body: string): Promise<unknown> {
  const refused = await links.set(node, parse(body));
  if (refused !== undefined) throw new Refusal(400, refused);
  return { node };
}

async function startSniffer(links: LinkControl, node: string, body: string): Promise<unknown> {
  const { markers = [] } = parse(body);
  if (!Array.isArray(markers) || !markers.every((marker) => typeof marker === "string" && marker !== ""))
    throw new Refusal(400, "markers must be a list of texts that are not empty");
  const refused = await links.sniff(node, markers as string[]);
  if (refused !== undefined) throw new Refusal(400, refused);
  return { node };
}

function streamEvents(events: EventLog, response: ServerResponse): undefined {
  response.writeHead(200, { "content-type": "application/x-ndjson" });
  response.once(
    "close",
    events.follow((event) => response.write(`${JSON.stringify(event)}\n`)),
  );
}

/** `from`: byte offset to begin at; `follow=1`: goes on as the log grows. */
function streamLog(name: string, query: URLSearchParams, response: ServerResponse): undefined {
  if (!/^[\w.-]+$/.test(name)) throw new Refusal(404, `there is no process ${name}`);
  const file = paths.log(name);
  const size = statSync(file, { throwIfNoEntry: false })?.size;
  if (size === undefined) throw new Refusal(404, `there is no log of a process ${name}`);
  const from = Math.min(size, Math.max(0, Number(query.get("from") ?? 0) || 0));
  response.writeHead(200, { "content-type": "text/plain; charset=utf-8", "x-log-size": size });
  if (query.get("follow") === "1")
    response.once(
      "close",
      followFile(file, from, (chunk) => response.write(chunk)),
    );
  else if (from === size) response.end();
  else createReadStream(file, { start: from, end: size - 1 }).pipe(response);
}

function reply(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(`${JSON.stringify(value)}\n`);
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

function parse(body: string): Readonly<Record<string, unknown>> {
  if (body.trim() === "") return {};
  try {
    const value: unknown = JSON.parse(body);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw new Refusal(400, "the body must be a JSON object");
}

function known<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new Refusal(404, `there is no ${what}`);
  return value;
}
