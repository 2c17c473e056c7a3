/** Admin: 127.0.0.1:15000 and a unix socket only its owner can open (agent-wire 9.3). Nothing here is for strangers. */
import { chmodSync, mkdirSync, unlinkSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect } from "node:net";
import { dirname } from "node:path";
import { messageOf, TypedError } from "../../core/base/errors.ts";
import type { Log } from "../../core/base/log.ts";

export interface AdminHandlers {
  readonly dump: () => Promise<Record<string, unknown>>;
  /** Every xDS resource in force, as it came. */
  readonly resources: () => unknown;
  /** @returns the level in force, or undefined where the one asked for is none. */
  readonly logLevel: (level: string | undefined) => string | undefined;
  /** Begins the orderly end. */
  readonly quit: () => void;
  /** Another agent of this network namespace serves, and wants the ports. */
  readonly yield: () => void;
}

export class AdminError extends TypedError<
  | { readonly code: "admin.port"; readonly port: number; readonly problem: string }
  | { readonly code: "admin.socket"; readonly path: string; readonly problem: string }
> {
  sentence(): string {
    const { type } = this;
    const where = type.code === "admin.port" ? `127.0.0.1:${type.port}` : type.path;
    return `its admin server cannot listen at ${where} (${type.problem}): is another agent running there?`;
  }
}

export const adminPort = 15_000;

export class AdminServer {
  readonly #servers: Server[] = [];
  readonly #handlers: AdminHandlers;
  readonly #log: Log;

  constructor(handlers: AdminHandlers, log: Log) {
    this.#handlers = handlers;
    this.#log = log;
  }

  async listenLocally(port = adminPort): Promise<AdminError | undefined> {
    const problem = await this.#listen((server) => server.listen(port, "127.0.0.1"));
    return problem === undefined ? undefined : new AdminError({ code: "admin.port", port, problem });
  }

  /** A socket file that a dead agent left is replaced; one that answers is another agent's. */
  async listenAt(path: string): Promise<AdminError | undefined> {
    const failed = (problem: string): AdminError => new AdminError({ code: "admin.socket", path, problem });
    if (await answers(path)) return failed("somebody answers there: is another agent running?");
    try {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      unlinkSync(path);
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== "ENOENT") return failed(messageOf(thrown));
    }
    // The file exists from bind on: it must never have been open to others.
    const before = process.umask(0o177);
    const problem = await this.#listen((server) => server.listen(path)).finally(() => process.umask(before));
    if (problem !== undefined) return failed(problem);
    chmodSync(path, 0o600);
    return undefined;
  }

  /** Gives every address up; it may listen again. */
  close(): void {
    for (const server of this.#servers.splice(0)) {
      server.close();
      server.closeAllConnections();
    }
  }

  #listen(start: (server: Server) => void): Promise<string | undefined> {
    const server = createServer((request, response) => {
      this.#answer(request, response).catch((thrown: unknown) => {
        this.#log.error({ err: thrown, url: request.url }, "internal bug in the admin server");
        if (!response.headersSent) response.writeHead(500);
        response.end("internal error, see the agent's log\n");
      });
    });
    return new Promise((resolve) => {
      server.once("error", (error) => resolve(messageOf(error)));
      server.once("listening", () => {
        this.#servers.push(server);
        resolve(undefined);
      });
      start(server);
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://admin");
    const isPost = request.method === "POST";
    switch (url.pathname) {
      case "/":
        return void response.writeHead(200, html).end(index);
      case "/config_dump":
        return void response.writeHead(200, json).end(`${JSON.stringify(await this.#handlers.dump(), undefined, 2)}\n`);
      case "/wds":
        return void response.writeHead(200, json).end(JSON.stringify(this.#handlers.resources()));
      case "/logging":
        return isPost ? this.#setLevel(url.searchParams, response) : notAllowed(response);
      case "/quitquitquit":
        if (!isPost) return notAllowed(response);
        response.writeHead(200).end("shutdown now\n");
        return this.#handlers.quit();
      case "/yield":
        if (!isPost) return notAllowed(response);
        // Closed together with the rest: not before it has been read.
        response.once("close", () => this.#handlers.yield());
        return void response.writeHead(200, { connection: "close" }).end("yielded\n");
      default:
        return void response.writeHead(404).end("not found\n");
    }
  }

  #setLevel(parameters: URLSearchParams, response: ServerResponse): void {
    const asked = parameters.get("level") ?? (parameters.has("reset") ? "info" : undefined);
    const level = this.#handlers.logLevel(asked);
    if (level === undefined) {
      return void response.writeHead(400).end(`no such level: ${String(asked)}; write one of ${levels.join(", ")}\n`);
    }
    response.writeHead(200).end(`current log level is ${level}\n`);
  }
}

export const levels: readonly string[] = ["trace", "debug", "info", "warn", "error", "fatal", "silent"];

function notAllowed(response: ServerResponse): void {
  response.writeHead(405, { allow: "POST" }).end("only POST\n");
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

const json = { "content-type": "application/json" };
const html = { "content-type": "text/html" };
const index = `<!doctype html><title>ambientd agent</title><ul>
<li><a href="config_dump">config_dump</a>: what the agent knows</li>
<li><a href="wds">wds</a>: what control told it, as it came</li>
<li>POST logging?level=debug: what it says</li>
<li>POST quitquitquit: an orderly end</li>
<li>POST yield: the ports are another agent's from now on</li></ul>
`;
