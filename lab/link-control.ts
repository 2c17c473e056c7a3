/** What can be done to a node's link while the lab runs: watched, or made worse by a wire through user space. */
import type { ChildProcess } from "node:child_process";
import { closeSync } from "node:fs";
import { createNetworkNamespace } from "../core/linux/namespace.ts";
import { createVeth, setUp } from "../core/linux/netlink/links.ts";
import { disableOffloads } from "../core/linux/offloads.ts";
import { writeSysctl } from "../core/linux/procfs.ts";
import type { FrameCounts } from "./frame-counter.ts";
import { HelperProcess } from "./helper-process.ts";
import { readImpairments, unimpaired, type Impairments } from "./impairments.ts";
import type { Lab } from "./lab.ts";
import type { NodeProcess } from "./node-process.ts";
import { check, configureLink, linkEnds, unlinkNode } from "./topology.ts";
import type { WireCounts } from "./wire.ts";

interface LaidWire {
  readonly process: HelperProcess;
  impairments: Impairments;
}

export class LinkControl {
  readonly #lab: Lab;
  readonly #onSpawn: (child: ChildProcess) => void;
  readonly #wires = new Map<string, LaidWire>();
  readonly #sniffers = new Map<string, HelperProcess>();

  constructor(lab: Lab, onSpawn: (child: ChildProcess) => void) {
    this.#lab = lab;
    this.#onSpawn = onSpawn;
  }

  /**
   * Changes the given fields of a link's impairments; the first time lays the wire, during which a frame or two are lost.
   * @returns a sentence where that cannot be done.
   */
  async set(name: string, wanted: Readonly<Record<string, unknown>>): Promise<string | undefined> {
    const node = this.#lab.node(name);
    if (node === undefined) return `there is no node ${name}`;
    const impairments = readImpairments(this.#wires.get(name)?.impairments ?? unimpaired, wanted);
    if (typeof impairments === "string") return impairments;
    let wire = this.#wires.get(name);
    if (wire === undefined) {
      if (this.#sniffers.has(name)) return `the link of ${name} is being watched: lay the wire first, then watch it`;
      wire = { process: await this.#layWire(node), impairments };
      this.#wires.set(name, wire);
    }
    wire.impairments = impairments;
    await wire.process.ask({ kind: "impair", impairments });
    return undefined;
  }

  async wireCounts(name: string): Promise<(WireCounts & Impairments) | undefined> {
    const wire = this.#wires.get(name);
    if (wire === undefined) return undefined;
    return { ...((await wire.process.ask({ kind: "counts" })) as WireCounts), ...wire.impairments };
  }

  /** Begins to count anew. @returns a sentence where that cannot be done. */
  async sniff(name: string, markers: readonly string[]): Promise<string | undefined> {
    const node = this.#lab.node(name);
    if (node === undefined) return `there is no node ${name}`;
    this.#sniffers.get(name)?.close();
    const argv = [linkEnds(node.plan).router, ...markers];
    this.#sniffers.set(name, await HelperProcess.start({ program: "sniffer", argv, onSpawn: this.#onSpawn }));
    return undefined;
  }

  async sniffed(name: string): Promise<FrameCounts | undefined> {
    return (await this.#sniffers.get(name)?.ask({ kind: "counts" })) as FrameCounts | undefined;
  }

  async stopSniffing(name: string): Promise<FrameCounts | undefined> {
    const counts = await this.sniffed(name);
    this.#sniffers.get(name)?.close();
    this.#sniffers.delete(name);
    return counts;
  }

  /** Puts two veth pairs in the place of one, the wire between their inner ends. */
  async #layWire({ plan, netns }: NodeProcess): Promise<HelperProcess> {
    const between = createNetworkNamespace();
    try {
      const ends = linkEnds(plan);
      check(await unlinkNode(plan));
      check(await createVeth({ name: ends.router, peer: { name: "a", netns: between } }));
      check(await createVeth({ name: ends.node, netns, peer: { name: "b", netns: between } }));
      // The wire's own namespace must add no frames of its own.
      writeSysctl("net/ipv6/conf/all/disable_ipv6", 1, between);
      check(disableOffloads(ends.router));
      check(disableOffloads(ends.node, netns));
      for (const end of ["a", "b"]) {
        check(disableOffloads(end, between));
        check(await setUp(end, { netns: between }));
      }
      await configureLink(plan, netns);
      return await HelperProcess.start({ program: "wire", argv: ["a", "b"], netns: between, onSpawn: this.#onSpawn });
    } finally {
      closeSync(between); // the wire's process keeps it
    }
  }
}
