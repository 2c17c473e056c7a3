/** node:http2 as one end of a run: the oracle. */
import http2 from "node:http2";
import type { Duplex } from "node:stream";
import type { Random } from "../../core/base/random.ts";
import { contentOf, hear, nothingHeard, otherRole, type Heard, type Role, type StreamPlan } from "./h2-plan.ts";

export class NodeEnd {
  readonly session: http2.ClientHttp2Session | http2.ServerHttp2Session;
  readonly heard = new Map<number, Heard>();
  readonly streams: NodeStream[] = [];
  readonly goaways: { readonly lastStreamId: number; readonly errorCode: number }[] = [];
  problem: Error | undefined;
  readonly #role: Role;

  constructor(pipe: Duplex, role: Role, options: http2.SessionOptions, plans: readonly StreamPlan[]) {
    this.#role = role;
    this.session =
      role === "client"
        ? http2.connect("http://node.test", { createConnection: () => pipe, ...options })
        : http2.performServerHandshake(pipe, options);
    this.session.on("error", (error: Error) => (this.problem ??= error));
    this.session.on("goaway", (errorCode: number, lastStreamId: number) => {
      this.goaways.push({ lastStreamId, errorCode });
    });
    this.session.on("stream", (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => {
      const plan = plans.find(({ number }) => number === Number(headers["x-plan"]));
      if (plan === undefined) throw new Error("a request that nobody planned");
      this.#adopt(plan, stream);
    });
  }

  /** Client: opens the plan's stream. */
  open(plan: StreamPlan): void {
    const head: http2.OutgoingHttpHeaders = plan.isConnect
      ? { ":method": "CONNECT", ":authority": "10.0.0.1:80" }
      : { ":method": "POST", ":scheme": "http", ":authority": "10.0.0.1:80", ":path": "/" };
    const { session } = this;
    if (!("request" in session)) throw new Error("a server opens nothing");
    this.#adopt(plan, session.request({ ...head, "x-plan": plan.number }, { endStream: false }));
  }

  #adopt(plan: StreamPlan, stream: http2.Http2Stream): void {
    const node = new NodeStream(plan, this.#role, stream);
    this.streams.push(node);
    this.heard.set(plan.number, node.heard);
  }
}

class NodeStream {
  readonly heard = nothingHeard();
  readonly #plan: StreamPlan;
  readonly #role: Role;
  readonly #stream: http2.Http2Stream;
  readonly #content: Buffer;
  #chunk = 0;
  #sent = 0;
  #isAnswered = false;
  #isFinished = false;

  constructor(plan: StreamPlan, role: Role, stream: http2.Http2Stream) {
    this.#plan = plan;
    this.#role = role;
    this.#stream = stream;
    this.#content = contentOf(plan, role);
    const expected = contentOf(plan, otherRole(role));
    stream.on("data", (piece: Buffer) => hear(this.heard, expected, piece));
    stream.on("end", () => {
      // Node ends the readable side of a stream that was reset, too.
      if (stream.rstCode === 0) this.heard.ended += 1;
    });
    stream.on("response", () => (this.heard.isAnswered = true));
    stream.on("error", () => undefined);
    stream.on("close", () => {
      this.heard.closed += 1;
      if (stream.rstCode !== undefined && stream.rstCode !== 0) this.heard.resetWith = stream.rstCode;
    });
  }

  /** Does something that is due, if anything is. */
  step(random: Random): void {
    const stream = this.#stream;
    if (this.heard.closed > 0 || stream.destroyed) return;
    if (random() < 0.2) {
      if (stream.isPaused()) stream.resume();
      else if (random() < 0.3) stream.pause();
      return;
    }
    if (this.#isFinished || stream.writableNeedDrain) return;
    if (this.#role === "server" && !this.#isAnswered) return this.#answer();
    this.#send();
  }

  #answer(): void {
    this.#isAnswered = true;
    const endStream = this.#plan.reset === undefined && this.#content.length === 0;
    if (endStream) this.#isFinished = true;
    (this.#stream as http2.ServerHttp2Stream).respond({ ":status": 200, "x-answer": this.#plan.number }, { endStream });
  }

  #send(): void {
    const { reset } = this.#plan;
    const sizes = this.#plan.chunks[this.#role];
    if (reset?.by === this.#role && this.#chunk === reset.afterChunks) {
      this.#isFinished = true;
      this.#stream.close(reset.errorCode);
      return;
    }
    const size = sizes[this.#chunk++];
    if (size === undefined) {
      this.#isFinished = true;
      this.#stream.end();
      return;
    }
    this.#stream.write(this.#content.subarray(this.#sent, (this.#sent += size)));
  }
}
