/** HTTP on a unix socket that only this user may open. */
import { lstatSync, mkdirSync, unlinkSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { dirname } from "node:path";
import { messageOf } from "../../core/base/errors.ts";

export interface HttpAnswer {
  readonly status: number;
  /** An object is sent as JSON, text as it is. */
  readonly body?: unknown;
}

export type HttpHandler = (request: HttpRequest) => Promise<HttpAnswer> | HttpAnswer;

export interface HttpRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  /** Aborted when the asker has gone. */
  readonly signal: AbortSignal;
  /** The whole body, or undefined where it is longer than `maxBodyBytes`. */
  readonly text: () => Promise<string | undefined>;
}

/** No plugin event and no query is anywhere near as long. */
export const maxBodyBytes = 64 * 1024;

/** Replaces what a dead process left at `path`. The file's mode is 0600 from its first moment. */
export async function serveUnix(path: string, handle: HttpHandler): Promise<Server> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o750 });
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket()) unlinkSync(path);
  const server = createServer((request, response) => void answer(handle, request, response));
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  // The socket file is made inside this call: no moment at which others could open it.
  const before = process.umask(0o177);
  try {
    server.listen(path, resolve);
  } finally {
    process.umask(before);
  }
  await promise;
  server.off("error", reject);
  return server;
}

/** Stops listening and cuts whoever is still asking. */
export async function closeServer(server: Server): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  server.close(() => resolve());
  server.closeAllConnections();
  await promise;
}

async function answer(handle: HttpHandler, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const gone = new AbortController();
  response.on("close", () => gone.abort());
  const asked: HttpRequest = {
    method: request.method ?? "",
    path: (request.url ?? "").split("?")[0] ?? "",
    signal: gone.signal,
    text: () => bodyOf(request),
  };
  let said: HttpAnswer;
  try {
    said = await handle(asked);
  } catch (thrown) {
    said = { status: 500, body: `internal bug: ${messageOf(thrown)}` };
  }
  if (response.destroyed) return;
  const isText = said.body === undefined || typeof said.body === "string";
  const body = isText ? (said.body ?? "") : `${JSON.stringify(said.body)}\n`;
  response.writeHead(said.status, { "content-type": isText ? "text/plain" : "application/json" }).end(body);
}

async function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > maxBodyBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
