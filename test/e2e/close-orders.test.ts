/** Every order in which the two ends of a connection can end it: what each of them sees, and what both agents say of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { useLab, type RunningClient } from "../support/mesh-lab.ts";
import { idlePod, namespace } from "../support/manifests.ts";
import { until } from "../support/until.ts";

const lab = useLab([
  namespace("shop", { ambient: true }),
  idlePod("shop/client", { node: "node1" }),
  idlePod("shop/server", { node: "node2" }),
]);

type End = "client" | "server";
type Act = `${End} ${"fin" | "rst"}`;

/** What an end must see, in order: `reset` is ECONNRESET, or EPIPE where the kernel says so first; nothing but these and `closed`. */
type Sight = "end" | "reset";

interface Order {
  readonly first: Act;
  readonly second: Act;
  readonly client: readonly Sight[];
  readonly server: readonly Sight[];
  readonly reason: "OK" | "CLIENT_RESET" | "UPSTREAM_RESET";
  /** What has to be said as well for the connection to be over: one end alone can't finish it. */
  readonly then?: Act;
}

const orders: readonly Order[] = [
  { first: "client fin", second: "client fin", client: ["end"], server: ["end"], reason: "OK", then: "server fin" },
  { first: "client fin", second: "client rst", client: [], server: ["end", "reset"], reason: "CLIENT_RESET" },
  { first: "client fin", second: "server fin", client: ["end"], server: ["end"], reason: "OK" },
  { first: "client fin", second: "server rst", client: ["reset"], server: ["end"], reason: "UPSTREAM_RESET" },
  { first: "client rst", second: "client fin", client: [], server: ["reset"], reason: "CLIENT_RESET" },
  { first: "client rst", second: "client rst", client: [], server: ["reset"], reason: "CLIENT_RESET" },
  { first: "client rst", second: "server fin", client: [], server: ["reset"], reason: "CLIENT_RESET" },
  { first: "client rst", second: "server rst", client: [], server: ["reset"], reason: "CLIENT_RESET" },
  { first: "server fin", second: "server fin", client: ["end"], server: ["end"], reason: "OK", then: "client fin" },
  { first: "server fin", second: "server rst", client: ["end", "reset"], server: [], reason: "UPSTREAM_RESET" },
  { first: "server fin", second: "client fin", client: ["end"], server: ["end"], reason: "OK" },
  { first: "server fin", second: "client rst", client: ["end"], server: ["reset"], reason: "CLIENT_RESET" },
  { first: "server rst", second: "server fin", client: ["reset"], server: [], reason: "UPSTREAM_RESET" },
  { first: "server rst", second: "server rst", client: ["reset"], server: [], reason: "UPSTREAM_RESET" },
  { first: "server rst", second: "client fin", client: ["reset"], server: [], reason: "UPSTREAM_RESET" },
  { first: "server rst", second: "client rst", client: ["reset"], server: [], reason: "UPSTREAM_RESET" },
];

const port = 7_000;
let puppets: Readonly<Record<End, RunningClient>>;

/** Once, by whoever comes first: a hook of this file would not wait for the lab's own. */
let staged: Promise<void> | undefined;

async function stage(): Promise<void> {
  const client = await lab().startPuppet("shop/client", "connect");
  const server = await lab().startPuppet("shop/server", "listen", port);
  await server.result("it listens", ({ event }) => event === "listening");
  puppets = { client, server };
}

for (const family of [4, 6] as const) {
  for (const order of orders) {
    const { first, second } = order;
    test(`F-090 H021 ${first}, then ${second}: each end sees just that, over IPv${family}`, () => play(order, family));
  }
}

async function play(order: Order, family: 4 | 6): Promise<void> {
  await (staged ??= stage());
  const name = `${order.first}-${order.second}-${family}`.replaceAll(" ", "-");
  const address = await lab().addressOf("shop/server", family);
  const target = family === 6 ? `[${address}]:${port}` : `${address}:${port}`;
  puppets.client.send(`connect ${name} ${target}`);
  await seen("client", name, "connected");
  await seen("server", name, "accepted");

  await act(name, order.first);
  await act(name, order.second);
  if (order.then !== undefined) await act(name, order.then);
  await seen("client", name, "closed");
  await seen("server", name, "closed");
  assert.deepEqual(sights("client", name), order.client, "the client saw");
  assert.deepEqual(sights("server", name), order.server, "the server saw");

  const records = async (node: string, direction: string): Promise<string[]> => {
    const record = await lab().accessLine(node, `${direction} of ${name}`, (one) => {
      return one.direction === direction && one["dst.hbone_addr"] === target && !told.has(`${direction} ${one.trace}`);
    });
    told.add(`${direction} ${record.trace}`);
    return [record.trace, record.reason];
  };
  const [outbound, inbound] = [await records("node1", "outbound"), await records("node2", "inbound")];
  assert.deepEqual(inbound, outbound, "both agents tell the same");
  assert.equal(outbound[1], order.reason);
}

/** Lines that belong to earlier connections. */
const told = new Set<string>();

/** Has an end say its last words and end, and waits until the other one has heard of it, if it still can. */
async function act(name: string, what: Act): Promise<void> {
  const [end, how] = what.split(" ") as [End, "fin" | "rst"];
  const other = end === "client" ? "server" : "client";
  const isGone = sights(end, name).includes("reset") || hasReset.has(`${name} ${end}`);
  const hasEnded = hasFinished.has(`${name} ${end}`);
  if (how === "fin" && !isGone && !hasEnded) puppets[end].send(`${name} write last-words-of-${end}`);
  puppets[end].send(`${name} ${how}`);
  (how === "rst" ? hasReset : hasFinished).add(`${name} ${end}`);
  if (isGone || hasReset.has(`${name} ${other}`)) return;
  if (how === "rst") {
    // Who has had the other's end reads no more, and hears of a reset when it writes.
    const poke = sights(other, name).includes("end");
    return void (await until(`${other} hears the reset of ${name}`, 30_000, () => {
      if (poke) puppets[other].send(`${name} write .`);
      return sights(other, name).includes("reset");
    }));
  }
  await seen(other, name, "end");
  assert.ok(textOf(other, name).endsWith(`last-words-of-${end}`), "no byte before a FIN is lost");
}

const hasReset = new Set<string>();
const hasFinished = new Set<string>();

async function seen(end: End, name: string, event: string): Promise<void> {
  await puppets[end].result(
    `${event} of ${name} at the ${end}`,
    (one) => one["name"] === name && one["event"] === event,
  );
}

function sights(end: End, name: string): Sight[] {
  return puppets[end].results.flatMap((one): Sight[] => {
    if (one["name"] !== name) return [];
    if (one["event"] === "end") return ["end"];
    if (one["event"] !== "error") return [];
    assert.match(String(one["code"]), /^(ECONNRESET|EPIPE)$/);
    return ["reset"];
  });
}

function textOf(end: End, name: string): string {
  return puppets[end].results
    .filter((one) => one["name"] === name && one["event"] === "data")
    .map(({ text }) => String(text))
    .join("");
}
