/** The live table of `npm start`: who reached whom, over what, as whom; and beside it what the mesh's decision had said. */
import { systemRandom } from "../core/base/random.ts";
import type { MeshState } from "../core/decision/mesh-state.ts";
import { Ledger } from "./reachability/ledger.ts";
import { LogFollower } from "./reachability/log-follower.ts";
import { readMesh } from "./reachability/mesh-view.ts";
import { colours, plain, renderRows } from "./reachability/render.ts";
import { tableRows, type Row } from "./reachability/rows.ts";
import type { LabHandle } from "./start.ts";
import type { LabStatus } from "./status.ts";

const everyMs = 1_000;

export class LiveTable {
  readonly #output: NodeJS.WriteStream;
  /** What stands at the bottom of the terminal now. */
  #drawn = "";

  constructor(output: NodeJS.WriteStream) {
    this.#output = output;
  }

  /** A line above the table. */
  note(line: string): void {
    const table = this.#drawn;
    this.#erase();
    this.#output.write(`${line}\n`);
    if (this.#output.isTTY) this.#draw(table);
  }

  /** Draws until the lab ends: in place on a terminal, else whenever what happened changes. */
  async run(lab: LabHandle): Promise<void> {
    const ledger = new Ledger();
    const follower = new LogFollower(lab, ledger);
    let ended = false;
    void lab.ended.then(() => (ended = true));
    this.note(whatToTry(lab.name));
    while (!ended) {
      const mesh = await look(lab, follower);
      this.#show(tableRows(ledger, mesh, systemRandom, performance.now()));
      await Promise.race([lab.ended, new Promise((resolve) => setTimeout(resolve, everyMs))]);
    }
  }

  #show(rows: readonly Row[]): void {
    if (this.#output.isTTY) {
      this.#erase();
      const { columns, rows: lines } = this.#output;
      return this.#draw(renderRows(rows, colours, { columns, lines: lines - 1 }));
    }
    const text = renderRows(
      rows.map((row) => ({ ...row, requests: 0 })),
      plain,
    );
    if (text !== this.#drawn && rows.some((row) => row.outcome)) this.#output.write(`${renderRows(rows, plain)}\n`);
    this.#drawn = text;
  }

  #draw(text: string): void {
    this.#output.write(text);
    this.#drawn = text;
  }

  #erase(): void {
    if (!this.#output.isTTY || this.#drawn === "") return;
    // Back to where the table began, and over it.
    this.#output.write(`\u001b[${this.#drawn.split("\n").length - 1}A\u001b[0J`);
    this.#drawn = "";
  }
}

async function look(lab: LabHandle, follower: LogFollower): Promise<MeshState | undefined> {
  try {
    const status = await lab.request<LabStatus>("GET", "/status");
    follower.follow(status);
    return await readMesh(lab.pid, status.nodes[0]?.name ?? "");
  } catch {
    // The lab is going, or the agent is starting again: the table goes on without predictions.
    return undefined;
  }
}

function whatToTry(name: string): string {
  return `
The lab ${name} is up. In a second terminal, try:
  npx ambientctl lab label namespace outside istio.io/dataplane-mode=ambient
      captures those outside, live; with istio.io/dataplane-mode- they go again
  npx ambientctl lab exec shop/client-1 -- curl -s http://server.shop
  npx ambientctl workloads · certificates · log -f
(with --lab ${name} where other labs run)
Ctrl-C ends it and leaves nothing behind.
`;
}
