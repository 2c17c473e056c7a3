/** What a soak sends through the mesh: requests one after the other, connections that are held, bytes in bulk, and broken connections. */
import type { RunningClient, TestLab } from "../support/mesh-lab.ts";
import { patternHash } from "../e2e/apps/pattern.ts";

/** How many there were, and what became of those that were not answered as they should have been. */
export interface TrafficCounts {
  readonly good: number;
  readonly lost: readonly string[];
}

/** A client that asks for a page every 10 ms on a new connection, until it is stopped. */
export class Loop {
  readonly #client: RunningClient;
  readonly #name: string;
  #read = 0;
  #good = 0;
  readonly #lost: string[] = [];

  private constructor(name: string, client: RunningClient) {
    this.#name = name;
    this.#client = client;
  }

  static async start(lab: TestLab, pod: string, url: string): Promise<Loop> {
    return new Loop(`${pod} to ${url}`, await lab.start(pod, "loop", url));
  }

  counts(): TrafficCounts {
    const { results } = this.#client;
    for (const result of results.splice(0)) {
      this.#read += 1;
      if (result["status"] === 200) this.#good += 1;
      else this.#lost.push(`${this.#name}: request ${this.#read}: ${JSON.stringify(result)}`);
    }
    return { good: this.#good, lost: this.#lost };
  }

  async stop(): Promise<TrafficCounts> {
    this.#client.end();
    await this.#client.ended;
    return this.counts();
  }
}

/** Connections that are open from the beginning to the end, and asked for an echo now and then. */
export class Held {
  readonly #client: RunningClient;
  readonly #count: number;
  readonly #name: string;
  #asked = 0;

  private constructor(name: string, client: RunningClient, count: number) {
    this.#name = name;
    this.#client = client;
    this.#count = count;
  }

  static async start(lab: TestLab, pod: string, target: string, count: number): Promise<Held> {
    const client = await lab.start(pod, "keep", target, count);
    await client.result("all are open", ({ event }) => event === "kept");
    return new Held(`${pod} to ${target}`, client, count);
  }

  ask(): void {
    this.#asked += 1;
    this.#client.send("echo");
  }

  counts(): TrafficCounts {
    const { results } = this.#client;
    const echoes = results.filter(({ event }) => event === "echoed");
    const short = echoes.filter(({ good }) => good !== this.#count);
    const cut = results.filter(({ event }) => event === "cut");
    const lost = [...short, ...cut].map((result) => `${this.#name}: ${JSON.stringify(result)}`);
    return { good: echoes.length * this.#count, lost };
  }

  async stop(): Promise<TrafficCounts> {
    await this.#client.result("the last echo", () => this.#echoes === this.#asked);
    this.#client.end();
    await this.#client.ended;
    return this.counts();
  }

  get #echoes(): number {
    return this.#client.results.filter(({ event }) => event === "echoed").length;
  }
}

/** Sends so many bytes, and has the receiver say what it got. @returns what went wrong, or undefined. */
export async function sendWhole(lab: TestLab, pod: string, target: string, bytes: number): Promise<string | undefined> {
  const [got] = await lab.client(pod, "upload", target, bytes);
  const expected = { bytes, sha256: await patternHash(bytes) };
  if (got?.["bytes"] === expected.bytes && got["sha256"] === expected.sha256) return undefined;
  return `${pod} to ${target}: ${bytes} bytes arrived as ${JSON.stringify(got)}`;
}
