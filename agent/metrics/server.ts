/**
 * 15020: metrics for whoever asks (agent-wire 9.1). Two answers at a time, each in pieces as its reader takes them: memory does not grow
 * with slow readers, and a reader that takes nothing for long makes room for the next.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Writable } from "node:stream";
import { createBrotliCompress, createDeflate, createGzip, createZstdCompress, constants } from "node:zlib";
import type { Clock } from "../../core/base/clock.ts";
import { messageOf } from "../../core/base/errors.ts";
import type { Log } from "../../core/base/log.ts";
import { contentTypes, type Format } from "./exposition.ts";

export interface StatsServerOptions {
  /** Port 0: any that is free. */
  readonly port: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Asks whoever must be asked, then all of it in pieces. */
  readonly scrape: (format: Format) => AsyncIterable<string>;
  /** One was answered with 503. */
  readonly onRefused: () => void;
}

interface Answer {
  readonly response: ServerResponse;
  readonly sinceMs: number;
}

export class StatsServer {
  readonly #options: StatsServerOptions;
  readonly #server: Server;
  readonly #answers = new Set<Answer>();
  #closed = false;
  #complained = false;

  constructor(options: StatsServerOptions) {
    this.#options = options;
    this.#server = createServer({ ...patience, requestTimeout: 10_000 }, (request, response) => {
      this.#answer(request, response).catch((thrown: unknown) => {
        options.log.error({ err: thrown }, "internal bug in the metrics server");
        response.destroy();
      });
    });
    this.#server.maxConnections = mostConnections;
    this.#server.unref();
    this.#server.on("error", (error) => {
      const problem = messageOf(error);
      if (!this.#complained) options.log.warn({ port: options.port, problem }, "metrics cannot be asked for yet");
      this.#complained = true;
      options.clock.after(retryMs, () => this.#listen());
    });
    this.#listen();
  }

  /** The port it listens on; undefined while it doesn't. */
  get port(): number | undefined {
    const address = this.#server.address();
    return address === null || typeof address === "string" ? undefined : address.port;
  }

  close(): void {
    this.#closed = true;
    this.#server.close();
    this.#server.closeAllConnections();
  }

  /** Without an address: IPv6 and IPv4, or IPv4 alone where the kernel has nothing else. */
  #listen(): void {
    if (!this.#closed) this.#server.listen({ port: this.#options.port });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url?.split("?")[0];
    // A body is nobody's business: what is not read is not kept.
    request.resume();
    if (path !== "/metrics" && path !== "/stats/prometheus") return void response.writeHead(404).end("not found\n");
    const answer = this.#admit(response);
    if (answer === undefined) {
      this.#options.onRefused();
      return void response.writeHead(503, { "retry-after": "1" }).end("two scrapes are being answered already\n");
    }
    const giveUp = this.#options.clock.after(longestMs, () => response.destroy());
    try {
      await this.#send(request, response);
    } finally {
      giveUp();
      this.#answers.delete(answer);
    }
  }

  async #send(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const format = acceptsOpenMetrics(request.headers.accept) ? "openmetrics" : "text";
    const encoding = encodingOf(request.headers["accept-encoding"]);
    response.writeHead(200, {
      "content-type": contentTypes[format],
      vary: "accept, accept-encoding",
      ...(encoding !== undefined && { "content-encoding": encoding }),
    });
    if (request.method === "HEAD") return void response.end();
    const gone = new Promise<"gone">((resolve) => response.once("close", () => resolve("gone")));
    const out: Writable = encoding === undefined ? response : compressors[encoding]();
    if (out !== response) out.on("error", () => response.destroy()).pipe(response);
    for await (const piece of this.#options.scrape(format)) {
      if (response.destroyed) break;
      if (out.write(piece)) continue;
      const drained = new Promise<"drained">((resolve) => out.once("drain", () => resolve("drained")));
      if ((await Promise.race([drained, gone])) === "gone") break;
    }
    out.end();
    await gone;
  }

  /** Room for one more, if need be that of one who has had its time. */
  #admit(response: ServerResponse): Answer | undefined {
    const nowMs = this.#options.clock.nowMs();
    if (this.#answers.size >= mostAnswers) {
      const [oldest] = this.#answers;
      if (oldest === undefined || nowMs - oldest.sinceMs < slowMs) return undefined;
      this.#answers.delete(oldest);
      oldest.response.destroy();
    }
    const answer = { response, sinceMs: nowMs };
    this.#answers.add(answer);
    return answer;
  }
}

/** Whether the header lists OpenMetrics, and not with `q=0`. */
export function acceptsOpenMetrics(accept: string | undefined): boolean {
  return weights(accept).some(([type, weight]) => type === "application/openmetrics-text" && weight > 0);
}

/** The encoding that the reader likes best, or undefined for none. */
export function encodingOf(accept: string | undefined): Encoding | undefined {
  const asked = weights(accept);
  let best: { encoding: Encoding; weight: number } | undefined;
  for (const encoding of Object.keys(compressors) as Encoding[]) {
    const weight = asked.find(([name]) => name === encoding)?.[1] ?? asked.find(([name]) => name === "*")?.[1] ?? 0;
    if (weight > (best?.weight ?? 0)) best = { encoding, weight };
  }
  return best?.encoding;
}

/** `a;q=0.5, b` → a 0.5, b 1. */
function weights(header: string | undefined): [string, number][] {
  return (header ?? "").split(",", mostListed).map((item) => {
    const [name = "", ...parameters] = item.split(";").map((part) => part.trim().toLowerCase());
    const weight = parameters.find((parameter) => parameter.startsWith("q="))?.slice(2);
    const number = weight === undefined ? 1 : Number(weight);
    return [name, Number.isFinite(number) ? number : 0];
  });
}

type Encoding = keyof typeof compressors;

/** The first is taken where the reader has no preference. Fast settings: a scrape is read once. */
const compressors = {
  gzip: () => createGzip({ level: 1 }),
  zstd: () => createZstdCompress(),
  br: () => createBrotliCompress({ params: { [constants.BROTLI_PARAM_QUALITY]: 1 } }),
  deflate: () => createDeflate({ level: 1 }),
} as const;

const mostAnswers = 2;
const slowMs = 2_000;
const longestMs = 30_000;
/** Another agent of this network namespace may be about to leave it to us. */
const retryMs = 500;
const mostConnections = 256;
const mostListed = 32;
const patience = { headersTimeout: 5_000, keepAliveTimeout: 60_000, connectionsCheckingInterval: 1_000 };
