/** Admin: 127.0.0.1:15000 and a unix socket only its owner can open (agent-wire 9.3). Nothing here is for strangers. */
import { chmodSync, mkdirSync, unlinkSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect } from "node:net";
import { dirname } from "node:path";
import { logLevels } from "../../core/base/log-filter.ts";
import { messageOf, TypedError } from "../../core/base/errors.ts";
import type { Log } from "../../core/base/log.ts";
import { printable } from "../../core/base/printable.ts";
import { refusedCaller } from "./callers.ts";
import { profileRequest, type ProfileRequest } from "./profile.ts";

export interface AdminHandlers {
  readonly dump: () => Promise<Record<string, unknown>>;
  /** Every xDS resource in force, as it came. */
  readonly resources: () => unknown;
  /** What is said from now on. @returns the filter in force, or what of the one asked for is not understood. */
  readonly logLevel: (change: LogChange) => string | { readonly unknown: string };
  /** @param thread `main`, or a worker's number. @returns undefined where there is no such thread, or it is being looked at already. */
  readonly profile: (thread: string, request: ProfileRequest) => Promise<string> | undefined;
  /** Begins the orderly end. */
  readonly quit: () => void;
  /** Another agent of this network namespace serves, and wants the ports. */
  readonly yield: () => void;
}

export interface LogChange {
  /** Back to what the agent was started with, first. */
  readonly reset: boolean;
  /** `level` and `scope=level`, separated by commas. */
  readonly level: string;
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
    const problem = await this.#listen("tcp", (server) => server.listen(port, "127.0.0.1"));
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
    const problem = await this.#listen("unix", (server) => server.listen(path)).finally(() => process.umask(before));
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

  #listen(by: "tcp" | "unix", start: (server: Server) => void): Promise<string | undefined> {
    const server = createServer((request, response) => {
      // Whoever can open the socket file is the agent's own user: no browser can.
      const refused = by === "tcp" ? refusedCaller(request.headers) : undefined;
      if (refused !== undefined) return void response.writeHead(403).end(`${refused}\n`);
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
    const url = URL.parse(request.url ?? "/", "http://admin");
    if (url === null) return void response.writeHead(400).end("no path\n");
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
      case "/debug/pprof/profile":
        return this.#profile("cpu", url.searchParams, response);
      case "/debug/pprof/heap":
        return this.#profile("heap", url.searchParams, response);
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
    const level = this.#handlers.logLevel({ reset: parameters.has("reset"), level: parameters.get("level") ?? "" });
    if (typeof level === "string") return void response.writeHead(200).end(`current log level is ${level}\n`);
    const fix = `write levels (${logLevels.join(", ")}) and scope=level, separated by commas`;
    response.writeHead(400).end(`no such level: ${printable(level.unknown)}; ${fix}\n`);
  }

  async #profile(what: ProfileRequest["what"], parameters: URLSearchParams, response: ServerResponse): Promise<void> {
    const request = profileRequest(what, parameters);
    if (typeof request === "string") return void response.writeHead(400).end(`${request}\n`);
    const profile = this.#handlers.profile(parameters.get("thread") ?? "main", request);
    if (profile === undefined) {
      return void response
        .writeHead(409)
        .end("no such thread (main, or a worker's number), or a profile is being taken\n");
    }
    response.writeHead(200, json).end(await profile);
  }
}

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
<li><a href="debug/pprof/profile?seconds=10">debug/pprof/profile</a>: what a thread's time goes to (seconds, frequency, thread=main or a worker's number)</li>
<li><a href="debug/pprof/heap?seconds=10">debug/pprof/heap</a>: which functions allocate; nothing of what is in memory</li>
<li>POST logging?level=debug or ?level=access=debug,info or ?reset: what it says</li>
<li>POST quitquitquit: an orderly end</li>
<li>POST yield: the ports are another agent's from now on</li></ul>
`;
