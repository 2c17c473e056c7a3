/**
 * What the tests run inside a pod: `client.ts WHAT TARGET [NUMBER]`; every result is one JSON line on standard output.
 *
 * get URL[,URL…] [times] · ask-on HOST:PORT HEX (the same datagram from one port again and again, until input ends; a line a reply) · knock HOST:PORT[,…] (says HTTP/1.1 to each, and tells how that ended) · loop URL (until input ends; a line a request) · hold HOST:PORT (an echo a line of input, until input ends) · upload HOST:PORT
 * BYTES · download HOST:PORT BYTES · mirror HOST:PORT BYTES (8 connections at once, each sends so many and gets them back) · sequence HOST:PORT N
 * (N connections one after another) · crowd HOST:PORT N (N at once) · stall HOST:PORT BYTES (offers bytes to one who reads nothing, while input is
 * open; then resets) · deaf HOST:PORT BYTES (asks for bytes and reads none while input is open; then resets) · converse HOST:PORT N (N echoing
 * connections until input ends) · keep HOST:PORT N (N idle connections; a line of input has each of them echo once) · half HOST:PORT · reset HOST:PORT (is reset) · abort HOST:PORT (resets) · finish-and-abort HOST:PORT (half-closes,
 * then resets) · storm HOST:PORT MS (a new connection every so many milliseconds until input ends; a line for each that is not answered) · breakage HOST:PORT N (N connections, each broken in one of many ways)
 */
import { createHash } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { get as httpGet, Agent } from "node:http";
import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { pipeline } from "node:stream/promises";
import { pattern } from "./pattern.ts";

const [what = "", target = "", count = "1"] = process.argv.slice(2);
const number = Number(count);

const actions: Readonly<Record<string, () => Promise<void>>> = {
  async get() {
    for (const url of target.split(",")) for (let i = 0; i < number; i++) say(await ask(url));
  },
  async knock() {
    for (const place of target.split(",")) say({ target: place, ...(await knock(place)) });
  },
  async loop() {
    let open = true;
    process.stdin.on("end", () => (open = false)).resume();
    while (open) {
      say(await ask(target));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  },
  async "ask-on"() {
    const [address = "", port = ""] = target.split(":");
    const socket = createSocket("udp4");
    socket.on("message", (reply) => say({ reply: reply.toString("hex") }));
    socket.on("error", (error: NodeJS.ErrnoException) => say({ error: error.code }));
    await new Promise<void>((resolve) => socket.connect(Number(port), address, resolve));
    let open = true;
    process.stdin.on("end", () => (open = false)).resume();
    while (open) {
      socket.send(Buffer.from(count, "hex"));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    socket.close();
  },
  async hold() {
    const socket = await dial();
    say({ event: "connected", local: socket.localPort });
    socket.on("data", (chunk) => say({ event: "echo", text: chunk.toString() }));
    socket.on("end", () => say({ event: "end" }));
    socket.on("error", (error: NodeJS.ErrnoException) => say({ event: "error", code: error.code }));
    for await (const line of createInterface({ input: process.stdin })) socket.write(line);
    socket.end();
    if (!socket.closed) await once(socket, "close");
    say({ event: "closed" });
  },
  async upload() {
    const socket = await dial();
    const answer = collect(socket);
    await pipeline(pattern(number), socket, { end: true });
    say(JSON.parse(await answer) as object);
  },
  async download() {
    const socket = await dial();
    const hash = createHash("sha256");
    let bytes = 0;
    socket.on("data", (chunk) => {
      hash.update(chunk);
      bytes += chunk.length;
    });
    socket.end(`${number}\n`);
    await once(socket, "end");
    say({ bytes, sha256: hash.digest("hex") });
  },
  async mirror() {
    const one = async (): Promise<object> => {
      const socket = await dial();
      const hash = createHash("sha256");
      let bytes = 0;
      socket.on("data", (chunk) => {
        hash.update(chunk);
        bytes += chunk.length;
      });
      await Promise.all([pipeline(pattern(number), socket), once(socket, "end")]);
      return { bytes, sha256: hash.digest("hex") };
    };
    for (const result of await Promise.all(Array.from({ length: 8 }, one))) say(result);
  },
  async sequence() {
    let good = 0;
    for (let i = 0; i < number; i++) if (await echoed(await dial())) good++;
    say({ good });
  },
  async crowd() {
    const sockets = await Promise.all(Array.from({ length: number }, dial));
    // Nobody leaves before the last has been answered.
    const echoes = await Promise.all(sockets.map(echo));
    await Promise.all(sockets.map(leave));
    say({ good: echoes.filter(Boolean).length });
  },
  async stall() {
    const socket = await dial();
    const offered = pattern(number);
    offered.pipe(socket);
    let before = -1;
    const watch = setInterval(() => {
      // What the kernel and the mesh took: once it stands still, they take no more.
      const taken = socket.bytesWritten - socket.writableLength;
      if (taken === before) say({ event: "standing", taken });
      before = taken;
    }, 500);
    await inputEnd();
    clearInterval(watch);
    socket.resetAndDestroy();
  },
  async deaf() {
    const socket = await dial();
    socket.write(`${number}\n`);
    say({ event: "asked" });
    await inputEnd();
    socket.resetAndDestroy();
  },
  async converse() {
    let [open, trips, worstMs] = [true, 0, 0];
    void inputEnd().then(() => (open = false));
    const talk = async (socket: Socket): Promise<void> => {
      while (open) {
        const started = performance.now();
        socket.write("ping");
        await once(socket, "data");
        worstMs = Math.max(worstMs, performance.now() - started);
        trips += 1;
      }
      socket.end();
      await once(socket, "close");
    };
    const sockets = await Promise.all(Array.from({ length: number }, dial));
    const watch = setInterval(() => {
      say({ event: "round", trips, worstMs: Math.round(worstMs) });
      worstMs = 0;
    }, 250);
    await Promise.all(sockets.map(talk));
    clearInterval(watch);
    say({ event: "over", trips });
  },
  async keep() {
    const sockets = await Promise.all(Array.from({ length: number }, dial));
    for (const socket of sockets) {
      socket.on("end", () => say({ event: "cut", how: "end" }));
      socket.on("error", (error: NodeJS.ErrnoException) => say({ event: "cut", how: error.code }));
    }
    say({ event: "kept", good: (await Promise.all(sockets.map(echo))).filter(Boolean).length });
    for await (const _ of createInterface({ input: process.stdin }))
      say({ event: "echoed", good: (await Promise.all(sockets.map(echo))).filter(Boolean).length });
    for (const socket of sockets) socket.removeAllListeners("end");
    await Promise.all(sockets.filter(({ closed }) => !closed).map(leave));
  },
  async storm() {
    // Else the pod is out of ports for this one server after half a minute: each is kept for 60 s after its end.
    writeFileSync("/proc/sys/net/ipv4/tcp_tw_reuse", "1");
    let [open, good] = [true, 0];
    void inputEnd().then(() => (open = false));
    const underWay = new Set<Promise<void>>();
    const one = async (): Promise<void> => {
      const lost = await unanswered();
      if (lost === undefined) good += 1;
      else say({ event: "lost", ...lost });
    };
    while (open) {
      if (underWay.size < mostUnderWay) {
        const going: Promise<void> = one().finally(() => underWay.delete(going));
        underWay.add(going);
      }
      if (good % 500 === 0) say({ event: "good", good });
      await new Promise((resolve) => setTimeout(resolve, number));
    }
    await Promise.all(underWay);
    say({ event: "over", good });
  },
  async half() {
    const socket = await dial();
    const answer = collect(socket);
    socket.end("half");
    say({ answer: await answer });
  },
  async reset() {
    const socket = await dial();
    socket.write("x");
    say({ event: await ending(socket) });
  },
  async abort() {
    const socket = await dial();
    socket.write("x");
    await once(socket, "data");
    socket.resetAndDestroy();
    say({ event: "reset sent" });
  },
  async "finish-and-abort"() {
    const socket = await dial();
    socket.end("x");
    await once(socket, "data");
    socket.resetAndDestroy();
    say({ event: "reset sent" });
  },
  async breakage() {
    let broken = 0;
    const ways = breakages.length;
    const one = async (i: number): Promise<void> => {
      const socket = await dial();
      const closed = new Promise((resolve) => socket.on("close", resolve));
      socket.on("error", () => {});
      await breakages[i % ways]!(socket);
      await closed;
      broken += 1;
    };
    for (let i = 0; i < number; i += atOnce) {
      await Promise.all(Array.from({ length: Math.min(atOnce, number - i) }, (_, k) => one(i + k)));
    }
    say({ broken });
  },
};

/** How a connection can be broken by its client; the server echoes, or resets. */
const breakages: readonly ((socket: Socket) => unknown)[] = [
  (socket) => socket.resetAndDestroy(),
  (socket) => socket.destroy(),
  (socket) => {
    socket.write("x");
    socket.once("data", () => socket.resetAndDestroy());
  },
  (socket) => {
    socket.write(Buffer.alloc(1 << 20));
    socket.once("data", () => socket.resetAndDestroy());
  },
  (socket) => {
    socket.end("x");
    socket.once("data", () => socket.resetAndDestroy());
  },
  (socket) => {
    // The end and the reset leave together, with bytes still in front of them.
    socket.end(Buffer.alloc(100_000), () => socket.resetAndDestroy());
  },
];
const atOnce = 50;
/** Of a storm; more would only wait for a processor. */
const mostUnderWay = 100;

const action = actions[what];
if (action === undefined) throw new Error(`there is no "${what}"`);
await action();
process.stdin.destroy();

async function dial(): Promise<Socket> {
  const [, host = "", port = ""] = /^\[?([^\]]+)\]?:(\d+)$/.exec(target) ?? [];
  const socket = connect({ host, port: Number(port), allowHalfOpen: true, noDelay: true });
  await once(socket, "connect");
  return socket;
}

/** One connection that says something and waits for the same. @returns what became of it instead. */
function unanswered(): Promise<object | undefined> {
  const started = performance.now();
  const [, host = "", port = ""] = /^\[?([^\]]+)\]?:(\d+)$/.exec(target) ?? [];
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port), noDelay: true });
    let [text, how] = ["", "end"];
    let local: number | undefined;
    socket.on("connect", () => {
      local = socket.localPort;
      socket.write("ping");
    });
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      if (text === "ping") socket.end();
    });
    socket.setTimeout(30_000, () => socket.destroy(new Error("silence")));
    socket.on("error", (error: NodeJS.ErrnoException) => (how = error.code ?? error.message));
    socket.on("close", () => {
      const ms = Math.round(performance.now() - started);
      resolve(text === "ping" ? undefined : { how, local, ms, at: Date.now() });
    });
  });
}

async function echoed(socket: Socket): Promise<boolean> {
  const good = await echo(socket);
  await leave(socket);
  return good;
}

async function echo(socket: Socket): Promise<boolean> {
  socket.write("ping");
  const [chunk] = (await once(socket, "data")) as [Buffer];
  return chunk.toString() === "ping";
}

async function leave(socket: Socket): Promise<void> {
  socket.end();
  await once(socket, "close");
}

function inputEnd(): Promise<unknown> {
  process.stdin.resume();
  return once(process.stdin, "end");
}

function collect(socket: Socket): Promise<string> {
  let text = "";
  socket.on("data", (chunk) => (text += chunk.toString()));
  return new Promise((resolve, reject) => socket.on("end", () => resolve(text)).on("error", reject));
}

function ending(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.resume();
    socket.on("end", () => resolve("end"));
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

/** Says a request of HTTP/1.1 to whoever is there. */
function knock(place: string): Promise<object> {
  const [, host = "", port = ""] = /^\[?([^\]]+)\]?:(\d+)$/.exec(place) ?? [];
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port) });
    let [isConnected, text, code] = [false, "", ""];
    socket.on("connect", () => {
      isConnected = true;
      socket.write(`GET / HTTP/1.1\r\nhost: ${place}\r\n\r\n`);
    });
    socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
    socket.on("error", (error: NodeJS.ErrnoException) => (code = error.code ?? error.message));
    socket.setTimeout(20_000, () => socket.destroy(new Error("silence")));
    socket.on("close", () => resolve({ connected: isConnected, local: socket.localPort, text, error: code }));
  });
}

function ask(url: string): Promise<object> {
  const started = performance.now();
  const marker = process.env["MARKER"];
  return new Promise((resolve) => {
    const agent = new Agent({ keepAlive: false });
    const request = httpGet(
      url,
      { agent, timeout: 10_000, headers: marker === undefined ? {} : { "x-marker": marker } },
      (response) => {
        const { socket } = response;
        const local = socket.localPort;
        let body = "";
        response.on("data", (chunk: Buffer) => (body += chunk.toString()));
        response.on("end", () =>
          resolve({
            target: url,
            status: response.statusCode,
            ms: Math.round(performance.now() - started),
            at: Date.now(),
            local,
            sent: socket.bytesWritten,
            received: socket.bytesRead,
            answer: parsed(body),
          }),
        );
        response.on("error", (error: NodeJS.ErrnoException) => resolve({ error: error.code }));
      },
    );
    request.on("timeout", () => request.destroy(new Error("timeout")));
    request.on("error", (error: NodeJS.ErrnoException) =>
      resolve({
        target: url,
        error: error.code ?? error.message,
        ms: Math.round(performance.now() - started),
        at: Date.now(),
      }),
    );
  });
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return body;
  }
}

function say(result: object): void {
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
