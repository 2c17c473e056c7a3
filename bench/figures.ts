/** What is measured: the one catalogue. Rows, table, page and targets name a figure by its id; an id is for good. */

export type Unit = "Gbit/s" | "CPU-s/GB" | "/s" | "µs" | "ms" | "MB" | "KB" | "s" | "ms/s" | "descriptors";

export interface Figure {
  readonly id: string;
  readonly title: string;
  readonly unit: Unit;
  readonly better: "lower" | "higher";
  /** Heading on the page; figures of one group stand together. */
  readonly group: string;
}

const figureList = [
  ...bulk("bulk-1", "1 stream"),
  ...bulk("bulk-8", "8 streams"),
  ...bulk("bulk-reverse", "1 stream, towards the client"),
  ...requests(16),
  ...requests(64),
  ...latency(200),
  ...latency(1_000),
  ...latency(5_000),
  of("Connections", "connections.rate", "new connections through warm tunnels", "/s", "higher"),
  of("Connections", "connections.cpu", "CPU per new connection, warm tunnels", "µs", "lower"),
  of("Handshakes", "handshakes.rate", "connections that make a tunnel each, four at a time", "/s", "higher"),
  of("Handshakes", "handshakes.cpu", "CPU per tunnel with a full handshake, both ends", "µs", "lower"),
  of("Handshakes", "handshakes.cpu-server", "CPU per tunnel with a full handshake, accepting end", "µs", "lower"),
  of("Memory", "memory.idle", "RSS idle, per agent", "MB", "lower"),
  of("Memory", "memory.connection", "RSS per idle connection and agent", "KB", "lower"),
  of("Memory", "memory.after-load", "RSS after load, per agent", "MB", "lower"),
  of("State", "state.load", "50,000 workloads and 2,000 services loaded", "s", "lower"),
  of("State", "state.load-memory", "RSS for 50,000 workloads, per worker", "MB", "lower"),
  of("State", "state.push-p99", "p99 moved while 50,000 workloads arrive", "ms", "lower"),
  of("State", "state.policies-connection", "CPU per new connection under 10,000 policies", "µs", "lower"),
  of("State", "state.policies-connection-added", "CPU that 10,000 policies add to a new connection", "µs", "lower"),
  of("State", "state.policies-request-added", "CPU that 10,000 policies add to a kept-alive request", "µs", "lower"),
  of("State", "state.policies-p99", "p99 moved by 10,000 policies", "ms", "lower"),
  of("State", "state.csr-rate", "certificates signed on one core", "/s", "higher"),
  of("State", "state.csr-cpu", "CPU per certificate signed", "µs", "lower"),
  ...growth("connections held", "growth-connections", [
    ["open-cpu", "CPU to open one more and keep it, both ends", "µs"],
    ["new-cpu", "CPU per short connection beside them, both ends", "µs"],
    ["idle-cpu", "CPU while they are idle, both ends", "ms/s"],
    ["memory", "RSS for all of them, per agent", "MB"],
    ["descriptors", "descriptors for all of them, per agent", "descriptors"],
  ]),
  ...growth("pods on a node", "growth-pods", [
    ["add-time", "time to begin serving one more", "ms"],
    ["add-cpu", "CPU to begin serving one more", "µs"],
    ["idle-cpu", "CPU while they are idle", "ms/s"],
    ["memory", "RSS for all of them", "MB"],
    ["descriptors", "descriptors for all of them", "descriptors"],
  ]),
  ...growth("workloads", "growth-workloads", [
    ["load", "loading them", "s"],
    ["main-cpu", "CPU of the main thread", "ms"],
    ["worker-cpu", "CPU of a worker", "ms"],
    ["worker-heap", "heap of a worker", "MB"],
    ["memory", "RSS for all of them, whole agent", "MB"],
  ]),
  ...growth("policies", "growth-policies", [
    ["load", "loading them", "s"],
    ["worker-cpu", "CPU of a worker", "ms"],
    ["worker-heap", "heap of a worker", "MB"],
    ["memory", "RSS for all of them, whole agent", "MB"],
  ]),
  ...growth("policies that apply to one pod", "growth-decisions", [
    ["new-cpu", "CPU per new connection under them, both ends", "µs"],
    ["request-cpu", "CPU per kept-alive request under them, both ends", "µs"],
  ]),
] as const satisfies readonly Figure[];

export const figures: readonly Figure[] = figureList;

/** @throws Error for an id that is not in the catalogue: our own bug. */
export function figure(id: string): Figure {
  const found = figures.find((one) => one.id === id);
  if (found === undefined) throw new Error(`there is no figure "${id}"`);
  return found;
}

function bulk(id: string, what: string): Figure[] {
  return [
    of("Bulk transfer", `${id}.rate`, `bulk, ${what}`, "Gbit/s", "higher"),
    of("Bulk transfer", `${id}.cpu`, `CPU per GB, ${what}`, "CPU-s/GB", "lower"),
  ];
}

function requests(connections: number): Figure[] {
  const what = `kept-alive 1 KiB requests at ${connections} connections`;
  return [
    of("Requests", `requests-${connections}.rate`, what, "/s", "higher"),
    of("Requests", `requests-${connections}.cpu`, `CPU per request at ${connections} connections`, "µs", "lower"),
  ];
}

function latency(rate: number): Figure[] {
  const group = "Latency at a fixed rate";
  const at = `at ${rate.toLocaleString("en")} requests/s`;
  return ["p50", "p99", "p99.9"].flatMap((percentile) => [
    of(group, `latency-${rate}.${percentile}`, `${percentile} ${at}`, "ms", "lower"),
    of(group, `latency-${rate}.${percentile}-added`, `${percentile} added over direct ${at}`, "ms", "lower"),
  ]);
}

/** Curves over how many there are of something. */
function growth(what: string, id: string, parts: readonly (readonly [string, string, Unit])[]): Figure[] {
  return parts.map(([part, title, unit]) => of(`Growth over ${what}`, `${id}.${part}`, title, unit, "lower"));
}

function of(group: string, id: string, title: string, unit: Unit, better: Figure["better"]): Figure {
  return { group, id, title, unit, better };
}
