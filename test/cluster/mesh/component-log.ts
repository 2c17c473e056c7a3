/** What one of our parts writes, from the moment it writes it: the node's own file of its container's output. */
import { closeSync, fstatSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import type { Cluster } from "../cluster.ts";
import { podOf, type Component } from "./parts-of-ours.ts";
import { systemNamespace } from "./install.ts";

export type Line = Readonly<Record<string, unknown>>;

export class ComponentLog {
  readonly #fd: number;
  #position: number;
  #rest = "";

  private constructor(path: string) {
    this.#fd = openSync(path, "r");
    this.#position = fstatSync(this.#fd).size;
  }

  /** Of what runs on the node now; what it has written until now is left out. */
  static async open(cluster: Cluster, component: Component, node: string): Promise<ComponentLog> {
    const { metadata } = await podOf(cluster, component, node);
    const pods = join(cluster.node(node).layout.folder, "log/pods");
    const folder = join(pods, `${systemNamespace}_${metadata.name}_${metadata.uid}`, component);
    // One file a life: 0.log, 1.log…
    const last = Math.max(...readdirSync(folder).map((name) => Number.parseInt(name, 10)));
    return new ComponentLog(join(folder, `${last}.log`));
  }

  /** The lines that have come since the last call. */
  next(): Line[] {
    const chunk = Buffer.alloc(64 * 1024);
    for (;;) {
      const length = readSync(this.#fd, chunk, 0, chunk.length, this.#position);
      if (length === 0) break;
      this.#position += length;
      this.#rest += chunk.toString("utf8", 0, length);
    }
    const lines = this.#rest.split("\n");
    this.#rest = lines.pop() ?? "";
    return lines.flatMap(parsed);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** A line of a container runtime: time, stream, whether it is whole, text. */
function parsed(line: string): Line[] {
  const text = line.split(" ").slice(3).join(" ");
  try {
    return [JSON.parse(text) as Line];
  } catch {
    return [];
  }
}
