/** Whether this node can do what will be asked of it, found out before anything on it is changed. */
import { constants } from "node:fs";
import { access, readlink } from "node:fs/promises";
import { dirname } from "node:path";
import { messageOf } from "../../core/base/errors.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { createNetworkNamespace, inNamespace } from "../../core/linux/namespace.ts";
import { applyTransaction } from "../../core/linux/nftables/apply.ts";
import { replaceTables } from "../../core/linux/nftables/model.ts";
import { closeDescriptor } from "../../core/linux/sockets.ts";
import { failureOf, InstallError, type NodeFault } from "./errors.ts";

export interface PreflightOptions {
  readonly binDir: string;
  readonly confDir: string;
  /** The node's /proc, e.g. /host/proc. */
  readonly procDir: string;
}

/** What is tried out, one probe each; each answers with what went wrong. */
export interface Probes {
  /** A namespace of its own, entered and left. */
  readonly setns: () => string | undefined;
  /** A nat table in that namespace. */
  readonly nfTables: () => Promise<string | undefined>;
  readonly writable: (directory: string) => Promise<unknown>;
  /** Where /proc/1/ns/net leads. */
  readonly firstProcess: (procDir: string) => Promise<string>;
}

/** Every fault of the node at once, or undefined. */
export async function preflight(
  options: PreflightOptions,
  probes: Probes = nodeProbes,
): Promise<InstallError | undefined> {
  const faults: NodeFault[] = [];
  const setns = probes.setns();
  if (setns !== undefined) faults.push({ problem: `network namespaces can't be entered (${setns})`, fix: setnsFix });
  // Without a namespace to try it in, nothing is known of nf_tables.
  const nfTables = setns === undefined ? await probes.nfTables() : undefined;
  if (nfTables !== undefined)
    faults.push({ problem: `the kernel has no nf_tables with nat (${nfTables})`, fix: nfTablesFix });
  for (const directory of [options.binDir, options.confDir]) {
    try {
      await probes.writable(directory);
    } catch (thrown) {
      faults.push({ problem: `${directory} can't be written`, fix: failureOf(thrown, directory).sentence() });
    }
  }
  try {
    await probes.firstProcess(options.procDir);
  } catch (thrown) {
    const denied = thrown instanceof Error && "code" in thrown && thrown.code === "EACCES";
    const problem = `the network namespaces of the node's processes can't be seen below ${options.procDir} (${messageOf(thrown)})`;
    faults.push({ problem, fix: denied ? ptraceFix : procFix });
  }
  return faults.length === 0 ? undefined : new InstallError({ code: "install.preflight", faults });
}

const nodeProbes: Probes = {
  setns() {
    try {
      const fd = createNetworkNamespace();
      try {
        inNamespace(fd, () => undefined);
      } finally {
        closeDescriptor(fd);
      }
      return undefined;
    } catch (thrown) {
      return messageOf(thrown);
    }
  },
  async nfTables() {
    const fd = createNetworkNamespace();
    try {
      const hook = { type: "nat", hook: "output", priority: -100 } as const;
      const table = {
        family: "inet",
        name: "ambient-preflight",
        chains: [{ name: "output", hook, rules: [] }],
      } as const;
      const refused = await applyTransaction(fd, replaceTables([table]));
      return refused instanceof LinuxError ? refused.message : undefined;
    } catch (thrown) {
      return messageOf(thrown);
    } finally {
      closeDescriptor(fd);
    }
  },
  async writable(directory) {
    try {
      await access(directory, constants.W_OK);
    } catch (thrown) {
      // What isn't there yet will be made: then its parent counts.
      if (!(thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT")) throw thrown;
      await access(dirname(directory), constants.W_OK);
    }
  },
  firstProcess: (procDir) => readlink(`${procDir}/1/ns/net`),
};

const setnsFix =
  "give the cni DaemonSet the capabilities SYS_ADMIN and NET_ADMIN, and a seccomp profile that allows setns";
const nfTablesFix =
  "load it on the node (modprobe nf_tables nft_chain_nat nft_redir), or use a kernel that has CONFIG_NF_TABLES";
const procFix = "mount the node's /proc there (hostPath /proc), read-only is enough";
const ptraceFix = "give the cni DaemonSet the capability SYS_PTRACE";
