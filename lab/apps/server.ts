/** The demo's server: answers any request, and says on standard output who was at the other end of its socket. PORT (8080) is where it listens. */
import { createServer } from "node:http";
import { canonicalIp, formatEndpoint } from "../../core/base/ip.ts";
import type { Served } from "../reachability/facts.ts";

const pod = `${process.env["POD_NAMESPACE"] ?? "?"}/${process.env["POD_NAME"] ?? "?"}`;

const server = createServer((request, response) => {
  const { remoteAddress = "", remotePort = 0 } = request.socket;
  const peer = formatEndpoint({ address: canonicalIp(remoteAddress) ?? remoteAddress, port: remotePort });
  const id = request.headers["x-request-id"];
  if (typeof id === "string") say({ event: "served", id, pod, peer });
  response.setHeader("content-type", "text/plain");
  response.end(`${pod} saw you as ${peer}\n`);
});
server.keepAliveTimeout = 1_000;
server.listen(Number(process.env["PORT"] ?? 8080), "::");

function say(line: Served): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
