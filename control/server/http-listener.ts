/** A small HTTP server for GET, on a port or a unix socket that only its owner may use. */
import { chmodSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { formatEndpoint, isLoopback, type Endpoint } from "../../core/base/ip.ts";
import { messageOf } from "../../core/base/errors.ts";
import { ListenError } from "./grpc-server.ts";

export interface HttpAnswer {
  readonly status: number;
  readonly type: "application/json" | "text/plain";
  readonly body: string;
}

export interface HttpListener {
  /** 0 for a unix socket. */
  readonly port: number;
  close(): void;
}

/**
 * Answers GET requests with what `answer` says of their path.
 * @param onlyLocal refuses requests that name a host which isn't this machine: a browser led here by DNS.
 */
export function listenHttp(
  where: Endpoint | string,
  answer: (path: string) => HttpAnswer | undefined,
  { onlyLocal = false }: { readonly onlyLocal?: boolean } = {},
): Promise<HttpListener | ListenError> {
  const server = createServer({ requestTimeout: patienceMs, headersTimeout: patienceMs }, (request, response) =>
    write(response, onlyLocal && !isLocal(request) ? forbidden : decide(request, answer)),
  );
  server.maxConnections = mostConnections;
  const name = typeof where === "string" ? where : formatEndpoint(where);
  return new Promise((resolve) => {
    server.on("error", (error: NodeJS.ErrnoException) => {
      // Every address there is, on a machine without IPv6.
      if (typeof where !== "string" && where.address === "::" && noIpv6.has(error.code ?? "")) {
        return void server.listen(where.port, "0.0.0.0");
      }
      resolve(new ListenError({ code: "control.cannot-listen", address: name, problem: messageOf(error) }));
    });
    server.once("listening", () => resolve(opened(server, where)));
    if (typeof where === "string") {
      rmSync(where, { force: true });
      const before = process.umask(0o177);
      server.listen(where);
      process.umask(before);
    } else server.listen(where.port, where.address);
  });
}

export function json(value: unknown, status = 200): HttpAnswer {
  return { status, type: "application/json", body: `${JSON.stringify(value, printable, 2)}\n` };
}

export function text(body: string, status = 200): HttpAnswer {
  return { status, type: "text/plain", body: `${body}\n` };
}

function opened(server: Server, where: Endpoint | string): HttpListener {
  if (typeof where === "string") chmodSync(where, 0o600);
  const port = typeof where === "string" ? 0 : (server.address() as AddressInfo).port;
  return {
    port,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

function decide(request: IncomingMessage, answer: (path: string) => HttpAnswer | undefined): HttpAnswer {
  if (request.method !== "GET" && request.method !== "HEAD") return text("only GET is answered", 405);
  const [path = ""] = (request.url ?? "").split("?");
  return answer(path) ?? text("there is nothing here", 404);
}

function write(response: ServerResponse, { status, type, body }: HttpAnswer): void {
  response.writeHead(status, { "content-type": `${type}; charset=utf-8`, "cache-control": "no-store" });
  response.end(body);
}

function isLocal({ headers }: IncomingMessage): boolean {
  const host = (headers.host ?? "localhost").replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1");
  return host === "localhost" || isLoopback(host);
}

/** Bytes as base64, large numbers as text. */
function printable(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return value.toString();
  return value instanceof Uint8Array ? Buffer.from(value).toString("base64") : value;
}

const noIpv6 = new Set(["EAFNOSUPPORT", "EADDRNOTAVAIL"]);
const forbidden: HttpAnswer = text("only asked for as localhost", 403);
const patienceMs = 10_000;
const mostConnections = 64;
