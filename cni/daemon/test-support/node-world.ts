/** A node as a container runtime leaves it: sandboxes in namespaces of their own under names of its choice, a namespace of the node's own,
 *  and a /proc without processes; a daemon that looks after it, and the plugin's questions to that daemon. */
import assert from "node:assert/strict";
import { closeSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { systemClock } from "../../../core/base/clock.ts";
import { TypedError } from "../../../core/base/errors.ts";
import { silentLog } from "../../../core/base/log.ts";
import { seededRandom } from "../../../core/base/random.ts";
import { bindNamespace, createNetworkNamespace, unbindNamespace } from "../../../core/linux/namespace.ts";
import { addAddress } from "../../../core/linux/netlink/addresses.ts";
import { setUp } from "../../../core/linux/netlink/links.ts";
import { readSet } from "../../../core/linux/nftables/read-back.ts";
import { renderPluginEvent } from "../../../core/protocol/cni/plugin-event.ts";
import { until } from "../../../test/support/until.ts";
import type { DaemonConfig } from "../config.ts";
import { startDaemon, type Daemon, type DaemonModules } from "../daemon.ts";
import type { KernelTruth } from "../enrolment.ts";
import { hostFamily, hostTable, probeSets } from "../host-rules.ts";
import { readTruth } from "../kernel-truth.ts";
import { defaultSelectionRules } from "../selectors.ts";
import { PlainAgent } from "./plain-agent.ts";

export interface Answer {
  readonly status: number;
  readonly body: string;
}

export interface Sandbox {
  readonly name: string;
  readonly netns: number;
  readonly address: string;
}

export class NodeWorld {
  readonly folder = mkdtempSync("/run/node-");
  /** The node's own namespace; the daemon itself is in another, as in a container. */
  readonly host = createNetworkNamespace();
  readonly agents: PlainAgent[] = [];
  readonly #sandboxes = new Map<string, Sandbox>();
  #daemon: Daemon | undefined;

  constructor(t: TestContext) {
    for (const name of ["proc/1/ns", "netns"]) mkdirSync(join(this.folder, name), { recursive: true });
    symlinkSync(`/proc/self/fd/${this.host}`, join(this.folder, "proc/1/ns/net"));
    t.after(() => this.#close());
  }

  get config(): DaemonConfig & { readonly host: NonNullable<DaemonConfig["host"]> } {
    return {
      node: "node1",
      runDir: join(this.folder, "run"),
      zds: join(this.folder, "zds/ztunnel.sock"),
      netnsDir: "",
      host: { proc: join(this.folder, "proc"), netnsDir: join(this.folder, "netns") },
      dnsCapture: false,
      selection: defaultSelectionRules,
    };
  }

  get daemon(): Daemon {
    assert.ok(this.#daemon !== undefined);
    return this.#daemon;
  }

  async start(modules: Pick<DaemonModules, "source"> & Partial<DaemonModules>): Promise<void> {
    const daemon = await startDaemon(this.config, {
      clock: systemClock,
      random: seededRandom(1),
      log: silentLog,
      reconcilerOptions: { settleMs: 20, fullRoundMs: 3_600_000 },
      ...modules,
    });
    if (daemon instanceof TypedError) throw daemon;
    this.#daemon = daemon;
  }

  async stop(): Promise<void> {
    const daemon = this.#daemon;
    this.#daemon = undefined;
    await daemon?.close();
  }

  agent(): PlainAgent {
    const agent = new PlainAgent(this.config.zds);
    this.agents.push(agent);
    return agent;
  }

  /** What a runtime makes before it calls the plugins; one of that name is taken down first. */
  async sandbox(name: string, address: string): Promise<Sandbox> {
    this.takeDown(name);
    const netns = createNetworkNamespace();
    assert.equal(await setUp("lo", { netns }), undefined);
    assert.equal(await addAddress({ interface: "lo", address, prefix: 32, netns }), undefined);
    assert.equal(bindNamespace(netns, this.#at(name)), undefined);
    const sandbox = { name, netns, address };
    this.#sandboxes.set(name, sandbox);
    return sandbox;
  }

  takeDown(name: string): void {
    const before = this.#sandboxes.get(name);
    if (before === undefined) return;
    this.#sandboxes.delete(name);
    unbindNamespace(this.#at(name));
    closeSync(before.netns);
  }

  /** A process of that pod in the sandbox: how it is found without the plugin. */
  process(sandbox: Sandbox, pod: string, pid: number): void {
    const at = join(this.folder, "proc", String(pid));
    rmSync(at, { recursive: true, force: true });
    mkdirSync(join(at, "ns"), { recursive: true });
    symlinkSync(`/proc/self/fd/${sandbox.netns}`, join(at, "ns/net"));
    writeFileSync(join(at, "cgroup"), `0::/kubepods/pod${pod}/${"ab".repeat(32)}\n`);
    writeFileSync(join(at, "stat"), `${pid} (app) S 1 ${"0 ".repeat(17)}${pid} 0\n`);
  }

  /** ADD, as the plugin asks for it. */
  add(
    sandbox: Sandbox,
    pod: { readonly name: string; readonly uid?: string; readonly namespace?: string },
  ): Promise<Answer> {
    const body = renderPluginEvent({
      netns: `/var/run/netns/${sandbox.name}`,
      podName: pod.name,
      podNamespace: pod.namespace ?? "shop",
      ...(pod.uid === undefined ? {} : { podUid: pod.uid }),
      ips: [{ ip: sandbox.address, prefix: 32 }],
    });
    return this.ask("/cmdadd", body);
  }

  async ask(path: string, body: string): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const socketPath = join(this.config.runDir, "pluginevent.sock");
    const asked = request({ socketPath, method: "POST", path }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (text += chunk));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body: text }));
    });
    asked.on("error", reject);
    asked.end(body);
    return promise;
  }

  async truth(sandbox: Sandbox): Promise<KernelTruth> {
    const truth = await readTruth(sandbox.netns, true);
    assert.ok(!(truth instanceof TypedError));
    return truth;
  }

  /** `address uid`, of all whose probes pass; undefined: the node has no rules of ours. */
  probed(): string[] | undefined {
    const elements = readSet(this.host, hostFamily, hostTable, probeSets.ipv4);
    if (elements === undefined) return undefined;
    assert.ok(Array.isArray(elements));
    return elements.map(({ address, comment }) => `${address} ${comment}`).sort();
  }

  phase(uid: string, phase: string | undefined): Promise<true> {
    return until(`${uid} ${phase}`, 5000, () => this.daemon.reconciler.phaseOf(uid) === phase);
  }

  #at(name: string): string {
    return join(this.folder, "netns", name);
  }

  async #close(): Promise<void> {
    for (const agent of this.agents) agent.kill();
    await this.stop();
    for (const name of [...this.#sandboxes.keys()]) this.takeDown(name);
    closeSync(this.host);
    if (existsSync(this.folder)) rmSync(this.folder, { recursive: true, force: true });
  }
}
