/**
 * A process: a control plane that says what it is told to say, when it is told to. With `--upstream` it stands between agents and their
 * real one: everything passes through it, and what is pushed comes beside it. Without, there is a mesh with nothing in it.
 * Usage: plane.ts --listen ADDRESS:PORT --certificate FILE --key FILE --socket PATH [--upstream HOST:PORT --upstream-root FILE]
 *
 * On the unix socket: one {@link PlaneOrder} a line, and the next one when its {@link PlaneAnswer} has come.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { constants, setPriority } from "node:os";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { Client, credentials, Metadata, Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";
import { messageOf } from "../../core/base/errors.ts";
import { DeltaDiscoveryRequest, DeltaDiscoveryResponse } from "../../core/protocol/generated/discovery.ts";
import { deltaPath } from "../../core/protocol/xds/delta-path.ts";
import { rawService, same } from "../../test/support/raw-stream.ts";
import { pushNonce } from "./pushes.ts";

/** Reads a push from its file, which takes its time. */
export interface LoadOrder {
  readonly kind: "load";
  /** What `push` calls it. */
  readonly name: string;
  /** An encoded DeltaDiscoveryResponse whose nonce begins with {@link pushNonce}. */
  readonly file: string;
}

export type PlaneOrder =
  | LoadOrder
  /** Sends it to one agent, and waits for its acknowledgement. */
  | { readonly kind: "push"; readonly name: string; readonly node: string }
  /** Which agents have a stream whose first answers they have acknowledged. */
  | { readonly kind: "agents" };

export type PlaneAnswer =
  /** From the first byte to the acknowledgement. */
  | { readonly seconds: number }
  | { readonly nodes: readonly string[] }
  | { readonly error: string }
  | { readonly loaded: number };

interface Agent {
  node: string;
  readonly call: ServerDuplexStream<Buffer, Buffer>;
  /** Type URLs whose first answer is acknowledged. */
  readonly settled: Set<string>;
  waiting:
    { readonly nonce: string; readonly settle: (answer: PlaneAnswer) => void; readonly sinceMs: number } | undefined;
}

/** Addresses and policies. */
const subscriptions = 2;
const { values } = parseArgs({
  options: {
    listen: { type: "string", default: "127.0.0.1:0" },
    certificate: { type: "string", default: "" },
    key: { type: "string", default: "" },
    socket: { type: "string", default: "" },
    upstream: { type: "string" },
    "upstream-root": { type: "string", default: "" },
  },
});
// Elsewhere it has a machine of its own: here it takes what those that are measured leave.
setPriority(constants.priority.PRIORITY_LOW);
lowerSession(constants.priority.PRIORITY_LOW);
const agents = new Set<Agent>();
const pushes = new Map<string, { readonly bytes: Buffer; readonly nonce: string }>();
const upstream = values.upstream === undefined ? undefined : upstreamClient(values.upstream);

const grpc = new Server({ "grpc.max_receive_message_length": -1 });
grpc.addService(rawService(deltaPath, true), { call: serve });
const pair = [{ cert_chain: readFileSync(values.certificate), private_key: readFileSync(values.key) }];
await new Promise<void>((resolve, reject) =>
  grpc.bindAsync(values.listen, ServerCredentials.createSsl(null, pair), (error) =>
    error ? reject(error) : resolve(),
  ),
);
createServer((socket) => {
  socket.on("error", () => undefined);
  createInterface({ input: socket }).on("line", (line) => {
    void obey(JSON.parse(line) as PlaneOrder).then((answer) => socket.write(`${JSON.stringify(answer)}\n`));
  });
}).listen(values.socket);

function serve(call: ServerDuplexStream<Buffer, Buffer>): void {
  const agent: Agent = { node: "", call, settled: new Set(), waiting: undefined };
  agents.add(agent);
  const answerer = upstream === undefined ? undefined : relayed(call, upstream);
  call.on("data", (bytes: Buffer) => {
    const request = DeltaDiscoveryRequest.decode(bytes);
    if (request.node !== undefined) agent.node = nodeNameOf(request);
    if (request.responseNonce.startsWith(pushNonce)) return acknowledged(agent, request);
    if (request.responseNonce !== "") agent.settled.add(request.typeUrl);
    if (answerer !== undefined) answerer.write(bytes);
    else if (request.responseNonce === "") call.write(nothing(request.typeUrl));
  });
  const gone = (): void => {
    agents.delete(agent);
    agent.waiting?.settle({ error: `the agent of ${agent.node} went away` });
    answerer?.cancel();
  };
  call.on("end", () => {
    gone();
    call.end();
  });
  call.on("error", gone);
  call.on("cancelled", gone);
}

/** The real one's half of a stream, under the caller's own credentials. */
function relayed(call: ServerDuplexStream<Buffer, Buffer>, client: Client) {
  const metadata = new Metadata();
  for (const name of ["authorization", "clusterid"])
    for (const value of call.metadata.get(name)) metadata.add(name, value);
  const up = client.makeBidiStreamRequest<Buffer, Buffer>(deltaPath, same, same, metadata);
  up.on("data", (bytes: Buffer) => call.write(bytes));
  up.on("error", (error) => call.destroy(error));
  up.on("end", () => call.end());
  return up;
}

function acknowledged(agent: Agent, { responseNonce, errorDetail }: DeltaDiscoveryRequest): void {
  const { waiting } = agent;
  if (waiting?.nonce !== responseNonce) return;
  agent.waiting = undefined;
  const seconds = (performance.now() - waiting.sinceMs) / 1_000;
  waiting.settle(errorDetail === undefined ? { seconds } : { error: `refused: ${errorDetail.message}` });
}

async function obey(order: PlaneOrder): Promise<PlaneAnswer> {
  switch (order.kind) {
    case "load":
      return load(order);
    case "agents":
      return { nodes: [...agents].filter(({ settled }) => settled.size >= subscriptions).map(({ node }) => node) };
    case "push": {
      const push = pushes.get(order.name);
      const agent = [...agents].find(({ node }) => node === order.node);
      if (push === undefined) return { error: `there is no push ${order.name}` };
      if (agent === undefined) return { error: `no agent of ${order.node} has a stream` };
      return new Promise((settle) => {
        agent.waiting = { nonce: push.nonce, settle, sinceMs: performance.now() };
        agent.call.write(push.bytes);
      });
    }
  }
}

function load({ name, file }: LoadOrder): PlaneAnswer {
  try {
    const bytes = readFileSync(file);
    pushes.set(name, { bytes, nonce: DeltaDiscoveryResponse.decode(bytes).nonce });
    return { loaded: bytes.length };
  } catch (error) {
    return { error: messageOf(error) };
  }
}

function nodeNameOf({ node }: DeltaDiscoveryRequest): string {
  const name: unknown = node?.metadata?.["NODE_NAME"];
  return typeof name === "string" ? name : (node?.id ?? "");
}

function nothing(typeUrl: string): Buffer {
  const response = { systemVersionInfo: "0", typeUrl, nonce: "empty", resources: [], removedResources: [] };
  return Buffer.from(DeltaDiscoveryResponse.encode({ ...response }).finish());
}

function upstreamClient(address: string): Client {
  const secure = credentials.createSsl(readFileSync(values["upstream-root"]));
  return new Client(address, secure, {
    "grpc.max_receive_message_length": -1,
    "grpc.use_local_subchannel_pool": 1,
  });
}

/** Where the kernel schedules sessions before processes (sched(7), autogroup): the one that this process leads, as in a lab, and no other. */
function lowerSession(priority: number): void {
  // Behind the name, which may hold anything: state, parent, group, session (proc_pid_stat(5)).
  const stat = readFileSync("/proc/self/stat", "utf8");
  const session = stat.slice(stat.lastIndexOf(")")).split(" ")[4];
  if (session !== stat.split(" ", 1)[0]) return;
  try {
    writeFileSync("/proc/self/autogroup", String(priority));
  } catch (error) {
    process.stderr.write(`this session keeps its priority: ${messageOf(error)}\n`);
  }
}
