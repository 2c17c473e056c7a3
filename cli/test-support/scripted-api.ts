/** An API server that says what a test tells it to, port-forwards included. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { WebSocketPeer } from "./web-socket-peer.ts";

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: unknown;
}

/** `status` is 200 where it isn't said. A text body is sent as text. */
export interface Said {
  readonly status?: number;
  readonly body: unknown;
}

/** What is at the other end of a port-forward. */
export type Forwarded =
  | { readonly kind: "http"; readonly answer: (path: string) => Said; readonly protocol?: string }
  | { readonly kind: "status"; readonly status: number }
  /** What the node writes into the error channel. */
  | { readonly kind: "complaint"; readonly text: string }
  /** Says yes, and nothing after it. */
  | { readonly kind: "silent" }
  /** Breaks off in the middle of an answer. */
  | { readonly kind: "cut" };

export class ScriptedApi {
  readonly asked: Asked[] = [];
  /** Longest number of port-forwards open at once. */
  mostForwards = 0;
  /** undefined: 404. */
  answer: (asked: Asked) => Said | undefined = () => undefined;
  forward: (pod: string, port: number) => Forwarded = () => ({ kind: "status", status: 404 });
  #open = 0;
  readonly #server: Server;
  readonly #folder = mkdtempSync(join(tmpdir(), "scripted-api-"));
  readonly #sockets = new Set<Duplex>();

  constructor() {
    this.#server = createServer((request, response) => {
      void this.#ask(request).then((said) => {
        const isText = typeof said.body === "string";
        response.writeHead(said.status ?? 200, { "content-type": isText ? "text/plain" : "application/json" });
        response.end(isText ? said.body : JSON.stringify(said.body));
      });
    });
    this.#server.on("upgrade", (request, socket: Duplex) => this.#upgrade(request, socket));
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return this;
  }

  /** A kubeconfig with contexts `here` (this server) and `gone` (nobody listens there). */
  get kubeconfig(): string {
    const file = join(this.#folder, "config");
    const { port } = this.#server.address() as AddressInfo;
    const cluster = (name: string, at: string): object => ({ name, cluster: { server: at } });
    const context = (name: string): object => ({ name, context: { cluster: name, user: "somebody" } });
    const config = {
      clusters: [cluster("here", `http://127.0.0.1:${port}`), cluster("gone", "http://127.0.0.1:1")],
      contexts: [context("here"), context("gone")],
      users: [{ name: "somebody", user: {} }],
      "current-context": "here",
    };
    writeFileSync(file, JSON.stringify(config));
    return file;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #ask(request: IncomingMessage): Promise<Said> {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://api");
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const body: unknown = text === "" ? undefined : JSON.parse(text);
    const asked = { method: request.method ?? "", path: pathname, query: searchParams, body };
    this.asked.push(asked);
    return this.answer(asked) ?? refusal(404, "NotFound", `the server could not find ${pathname}`);
  }

  #upgrade(request: IncomingMessage, socket: Duplex): void {
    this.#sockets.add(socket);
    const url = new URL(request.url ?? "/", "http://api");
    const [, pod = ""] = /\/pods\/([^/]+)\/portforward$/.exec(url.pathname) ?? [];
    const port = Number(url.searchParams.get("ports"));
    const forwarded = this.forward(pod, port);
    if (forwarded.kind === "status") {
      socket.end(`HTTP/1.1 ${forwarded.status} No\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    this.mostForwards = Math.max(this.mostForwards, ++this.#open);
    socket.once("close", () => (this.#open -= 1));
    const protocol = forwarded.kind === "http" ? (forwarded.protocol ?? "v4.channel.k8s.io") : "v4.channel.k8s.io";
    const peer = new WebSocketPeer(request, socket, protocol);
    for (const channel of [0, 1]) peer.send(Buffer.from([channel, port & 0xff, port >> 8]));
    if (forwarded.kind === "complaint") peer.send(Buffer.concat([Buffer.from([1]), Buffer.from(forwarded.text)]));
    let heard = "";
    peer.onMessage = (message) => {
      heard += message.subarray(1).toString();
      const [, path] = /^GET (\S+) HTTP\/1\.1\r\n[\s\S]*\r\n\r\n$/.exec(heard) ?? [];
      if (path === undefined) return;
      if (forwarded.kind === "cut") {
        peer.send(
          Buffer.concat([Buffer.from([0]), Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of")]),
        );
        return peer.cut();
      }
      if (forwarded.kind === "http") respond(peer, forwarded.answer(path));
    };
  }
}

/** In messages of odd sizes, as a network cuts them. */
function respond(peer: WebSocketPeer, { status = 200, body }: Said): void {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const bytes = Buffer.from(
    `HTTP/1.1 ${status} X\r\nContent-Length: ${Buffer.byteLength(text)}\r\nConnection: close\r\n\r\n${text}`,
  );
  for (let at = 0; at < bytes.length; at += 777) {
    peer.send(Buffer.concat([Buffer.from([0]), bytes.subarray(at, at + 777)]));
  }
  peer.close();
}

/** meta/v1 Status. */
export function refusal(code: number, reason: string, message: string): Said {
  return { status: code, body: { kind: "Status", apiVersion: "v1", status: "Failure", code, reason, message } };
}

export function list(items: readonly object[]): Said {
  return { body: { kind: "List", apiVersion: "v1", metadata: { resourceVersion: "1" }, items } };
}
