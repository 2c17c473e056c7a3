/** Another agent of a lab's node, in a pod of its own, as a cluster has it; several in one pod share its ports, as on a bare node. */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { checkoutRoot, controlName, controlPort } from "../../lab/programs.ts";
import { idlePod, namespace, pod, service, type Manifest } from "./manifests.ts";
import type { TestLab } from "./mesh-lab.ts";
import { until } from "./until.ts";

/** `mesh/client` on node1, `mesh/server` on node2, and on each node a pod for another agent. */
export const roomForAgents: readonly Manifest[] = [
  namespace("mesh", { ambient: true }),
  namespace("infra"),
  idlePod("mesh/client", { node: "node1" }),
  pod("mesh/server", { node: "node2" }),
  service("mesh/server"),
  idlePod("infra/agent1", { node: "node1" }),
  idlePod("infra/agent2", { node: "node2" }),
];

export class AnotherAgent {
  readonly lines: string[] = [];
  /** Settles when the process has ended. */
  readonly ended: Promise<unknown>;
  readonly #lab: TestLab;
  readonly #where: string;
  hasEnded = false;

  private constructor(lab: TestLab, where: string, child: ChildProcess) {
    this.#lab = lab;
    this.#where = where;
    createInterface({ input: child.stdout! }).on("line", (line) => this.lines.push(line));
    this.ended = once(child, "exit").then(() => (this.hasEnded = true));
  }

  /** Settles when it is ready. @param node where {@link roomForAgents} has a pod for it. @param settings beside those of a lab's agent. */
  static async start(
    lab: TestLab,
    node: "node1" | "node2",
    settings: Readonly<Record<string, string>> = {},
  ): Promise<AnotherAgent> {
    const where = node === "node1" ? "infra/agent1" : "infra/agent2";
    const control = `https://${controlName}:${controlPort}`;
    const root = "/run/secrets/istio/root-cert.pem";
    const env = {
      XDS_ADDRESS: control,
      CA_ADDRESS: control,
      XDS_ROOT_CA: root,
      CA_ROOT_CA: root,
      AUTH_TOKEN: "/run/secrets/tokens/istio-token",
      INPOD_UDS: "/run/ztunnel/ztunnel.sock",
      AMBIENTD_LISTENER_STORE: "/run/ztunnel/listeners.sock",
      NODE_NAME: node,
      POD_NAME: `ztunnel-${node}`,
      POD_NAMESPACE: "istio-system",
      ZTUNNEL_WORKER_THREADS: "2",
      ...settings,
    };
    const agent = [process.execPath, "--disable-sigusr1", join(checkoutRoot, "bin/ambientd.ts"), "agent"];
    // With the capabilities that the chart grants and no others, over a root file system that nothing can be written to.
    const drop = ["setpriv", "--bounding-set", "-all,+sys_admin,+net_raw", "--inh-caps", "-all", "--"];
    const readOnly = ["unshare", "--mount", "--", "sh", "-c", 'mount -o remount,bind,ro / && exec "$@"', "sh"];
    const argv = [...readOnly, ...drop, ...agent];
    const child = await lab.handle.exec(where, argv, { env, stdio: ["pipe", "pipe", "inherit"] });
    const one = new AnotherAgent(lab, where, child);
    await until("another agent is ready", 30_000, () => {
      if (one.hasEnded) throw new Error(`it has ended: ${one.lines.slice(-5).join("\n")}`);
      return one.says("agent is ready");
    });
    return one;
  }

  says(message: string): boolean {
    return this.lines.some((line) => line.includes(`"${message}"`));
  }

  /** Of its connections that ended. */
  get reasons(): string[] {
    return this.lines
      .filter((line) => line.includes('"connection complete"'))
      .map((line) => String((JSON.parse(line) as { reason?: string }).reason));
  }

  async terminate(): Promise<void> {
    const starts = this.lines.find((line) => line.includes('"agent starts"')) ?? "{}";
    const { pid } = JSON.parse(starts) as { pid?: number };
    // Not what the test has spawned: that is the program that entered the pod.
    const { code } = await this.#lab.run(this.#where, ["kill", "-TERM", String(pid)]);
    assert.equal(code, 0);
  }

  async stop(): Promise<void> {
    await this.terminate();
    await this.ended;
  }
}
