/**
 * The demo's client: asks each of its targets in turn, a new connection a request, and says what became of it as one line on standard output.
 * TARGETS: `http://host[:port]` separated by commas. INTERVAL_MS (1000): between rounds.
 * Each request carries a marker of its own pair, so that a sniffer on the wire can tell whose bytes it can read.
 */
import { randomUUID } from "node:crypto";
import { request as httpRequest } from "node:http";
import { setDefaultAutoSelectFamily, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { canonicalIp, formatEndpoint } from "../../core/base/ip.ts";
import { markerOf, type Attempt } from "../reachability/facts.ts";

// One attempt a request: a second one, to the other family, would hide what became of the first.
setDefaultAutoSelectFamily(false);

const from = `${process.env["POD_NAMESPACE"] ?? "?"}/${process.env["POD_NAME"] ?? "?"}`;
const targets = (process.env["TARGETS"] ?? "").split(",").filter((target) => target !== "");
const intervalMs = Number(process.env["INTERVAL_MS"] ?? 1_000);

for (;;) {
  for (const target of targets) process.stdout.write(`${JSON.stringify(await ask(target))}\n`);
  await sleep(intervalMs);
}

function ask(target: string): Promise<Attempt> {
  const url = new URL(target);
  const id = randomUUID();
  const started = performance.now();
  let remote = "";
  let local: string | undefined;
  const headers = { "x-request-id": id, "x-marker": markerOf(from, url.hostname) };
  return new Promise((resolve) => {
    const settle = (result: { status: number } | { error: string }): void =>
      resolve({
        event: "attempt",
        id,
        from,
        target: `${url.hostname}:${url.port === "" ? 80 : url.port}`,
        remote,
        ...(local === undefined ? {} : { local }),
        ...result,
        ms: Math.round((performance.now() - started) * 10) / 10,
      });
    const request = httpRequest(url, { agent: false, headers, timeout: 5_000 }, (response) => {
      // The whole answer counts, not its first line.
      response.resume();
      response.on("end", () => settle({ status: response.statusCode ?? 0 }));
      response.on("error", (error: NodeJS.ErrnoException) => settle({ error: error.code ?? error.message }));
    });
    request.on("socket", (socket: Socket) => {
      // A refusal may come before 'connect' does: the kernel has chosen our end as soon as the attempt has begun.
      socket.on("connectionAttempt", () => process.nextTick(() => (local = ownEnd(socket))));
      socket.on("lookup", (_error, address) => (remote = endpoint(address, Number(url.port === "" ? 80 : url.port))));
      socket.on("connect", () => {
        remote = endpoint(socket.remoteAddress ?? "", socket.remotePort ?? 0);
        local = ownEnd(socket);
      });
    });
    request.on("timeout", () => request.destroy(new Error("no answer within 5 s")));
    request.on("error", (error: NodeJS.ErrnoException) => settle({ error: error.code ?? error.message }));
    request.end();
  });
}

function ownEnd(socket: Socket): string | undefined {
  const own = socket.address();
  return "port" in own ? endpoint(own.address, own.port) : undefined;
}

function endpoint(address: string, port: number): string {
  return formatEndpoint({ address: canonicalIp(address) ?? address, port });
}
