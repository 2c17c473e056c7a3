/**
 * A process: requests at a fixed rate over kept connections, then one line of JSON ({@link FixedRateResult}).
 * Usage: node fixed-rate-client.ts ADDRESS PORT PATH REQUESTS-PER-SECOND CONNECTIONS SECONDS
 * All answers are taken to be as long as the first one: a file's, from one server. Nothing is allocated per request but what Node's write does.
 */
import { connect, type Socket } from "node:net";
import { Histogram } from "../measure/histogram.ts";
import { answerLength } from "./answer-length.ts";
import { OpenLoop } from "./open-loop.ts";
import { preciseTimer } from "./precise-timer.ts";

export interface FixedRateResult {
  readonly requests: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly maxUs: number;
  /** What this process itself was late by, which is in the latencies. */
  readonly lateP99Us: number;
}

/** Sent before those that count, and how long after the last one was due its answer may take; seconds. */
const warmUp = 0.5;
const patience = 10;

const [address = "", port = "", path = "/", rate = "", connections = "", seconds = ""] = process.argv.slice(2);
const request = Buffer.from(`GET ${path} HTTP/1.1\r\nHost: ${address}\r\n\r\n`);
const sockets: Socket[] = [];
/** By connection: bytes of the answer that is coming. */
const received = new Uint32Array(Number(connections));
let wanted = 0;

for (let i = 0; i < Number(connections); i++) sockets.push(await opened(i));

const perSecond = Number(rate);
const latencies = new Histogram();
const lateness = new Histogram();
const loop = new OpenLoop({
  connections: Number(connections),
  perSecond,
  startUs: nowUs() + 1_000,
  warmUp: perSecond * warmUp,
  requests: perSecond * Number(seconds),
  latencies,
  lateness,
  send: (connection) => void sockets[connection]?.write(request),
});
const timer = preciseTimer(() => {
  loop.advance(nowUs());
  if (loop.nextDueUs !== Number.POSITIVE_INFINITY) timer.set(loop.nextDueUs - nowUs());
});
timer.set(loop.nextDueUs - nowUs());
// What is not answered by then never will be.
const watchdog = setTimeout(
  () => fail(`${loop.unanswered} requests were not answered`),
  (warmUp + Number(seconds) + patience) * 1_000,
);

/** Connects, and asks once, so that everything on the way is there when it counts. */
function opened(connection: number): Promise<Socket> {
  const { promise, resolve } = Promise.withResolvers<Socket>();
  const chunks: Buffer[] = [];
  let isOpen = false;
  const socket = connect({
    host: address,
    port: Number(port),
    noDelay: true,
    onread: {
      buffer: Buffer.allocUnsafe(16 * 1024),
      callback: (count, bytes) => {
        if (isOpen) return arrived(connection, count);
        chunks.push(Buffer.from(bytes.subarray(0, count)));
        const answer = Buffer.concat(chunks);
        const length = answerLength(answer);
        if (typeof length === "string") return fail(length);
        if (length === undefined || answer.length < length) return true;
        wanted = length;
        isOpen = true;
        resolve(socket);
        return true;
      },
    },
  });
  socket.once("connect", () => socket.write(request));
  socket.on("error", (error) => fail(error.message));
  socket.on("close", () => fail("a connection was closed"));
  return promise;
}

function arrived(connection: number, count: number): boolean {
  const bytes = (received[connection] ?? 0) + count;
  if (bytes < wanted) {
    received[connection] = bytes;
    return true;
  }
  received[connection] = 0;
  if (bytes > wanted) return fail("an answer is longer than the first one was");
  if (!loop.answered(connection, nowUs())) return fail("an answer came that nobody asked for");
  if (loop.isDone) finish();
  return true;
}

function finish(): void {
  clearTimeout(watchdog);
  timer.close();
  const result: FixedRateResult = {
    requests: latencies.total,
    p50Us: latencies.quantileUs(0.5),
    p99Us: latencies.quantileUs(0.99),
    p999Us: latencies.quantileUs(0.999),
    maxUs: latencies.maxUs,
    lateP99Us: lateness.quantileUs(0.99),
  };
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
}

function fail(sentence: string): never {
  process.stderr.write(`${sentence}\n`);
  process.exit(1);
}

function nowUs(): number {
  return performance.now() * 1_000;
}
