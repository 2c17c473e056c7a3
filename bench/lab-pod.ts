/** A pod of a lab as benches use it. */
import type { ChildProcess } from "node:child_process";
import { closeSync } from "node:fs";
import { LinuxError } from "../core/linux/errno.ts";
import { openNamespace } from "../core/linux/namespace.ts";
import { writeSysctl } from "../core/linux/procfs.ts";
import type { LabHandle } from "../lab/start.ts";
import type { LabStatus } from "../lab/status.ts";
import { hostPids } from "./host-processes.ts";
import type { StagePod } from "./sides/stage.ts";

export class LabPod implements StagePod {
  readonly key: string;
  readonly address: string;
  readonly netns: string | undefined;
  readonly netnsInside: string;
  readonly #lab: LabHandle;

  private constructor(
    lab: LabHandle,
    key: string,
    address: string,
    pid: { readonly inLab: number; readonly here: number },
  ) {
    this.#lab = lab;
    this.key = key;
    this.address = address;
    this.netns = lab.ownUserNamespace ? undefined : `/proc/${pid.here}/ns/net`;
    this.netnsInside = `/proc/${pid.inLab}/ns/net`;
  }

  /** @param key `namespace/name`. @throws Error where there is no such pod, or none that runs under an IPv4 address. */
  static async find(lab: LabHandle, key: string): Promise<LabPod> {
    const { pods } = await lab.request<LabStatus>("GET", "/status");
    const row = pods.find(({ pod }) => pod === key);
    const address = row?.addresses.find((text) => !text.includes(":"));
    const inLab = row?.pids[0] ?? 0;
    const here = hostPids(lab.pid).get(inLab);
    if (address === undefined || here === undefined) throw new Error(`there is no pod ${key} that runs in ${lab.name}`);
    return new LabPod(lab, key, address, { inLab, here });
  }

  /** After a second, not a minute: else a client that connects all the time is out of ports for one server after half a minute. */
  useSourcePortsAgain(): void {
    const fd = this.netns === undefined ? undefined : openNamespace(this.netns);
    if (fd === undefined || fd instanceof LinuxError) return;
    writeSysctl("net/ipv4/tcp_tw_reuse", 1, fd);
    closeSync(fd);
  }

  run(command: readonly string[]): Promise<ChildProcess> {
    return this.#lab.exec(this.key, command, { stdio: ["pipe", "pipe", "pipe"] });
  }

  async readProc(path: string): Promise<string> {
    const child = await this.run(["cat", path]);
    let [text, complaint] = ["", ""];
    child.stdout?.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    child.stderr?.setEncoding("utf8").on("data", (chunk: string) => (complaint += chunk));
    const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
    if (code !== 0) throw new Error(complaint.trim() || `${path} of ${this.key} could not be read`);
    return text;
  }
}
