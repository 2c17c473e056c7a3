/** Whether this kernel has what a lab needs, found by trying it in a namespace that is thrown away. */
import { closeSync } from "node:fs";
import { createNetworkNamespace } from "../core/linux/namespace.ts";
import { applyTransaction } from "../core/linux/nftables/apply.ts";
import { replaceTables, type Rule, type Table } from "../core/linux/nftables/model.ts";
import { hasIpv6 } from "../core/linux/procfs.ts";
import type { Families } from "./addresses.ts";
import { Refused } from "./refusals.ts";

/** @throws Refused with the sentence to show. */
export async function probeKernel(families: Families): Promise<void> {
  const scratch = createNetworkNamespace();
  try {
    if (families.includes("6") && !hasIpv6(scratch))
      throw new Refused("This kernel speaks no IPv6: boot without ipv6.disable=1, or start the lab with --families 4.");
    const failure = await applyTransaction(scratch, replaceTables([probe]));
    if (failure !== undefined)
      throw new Refused(
        `This kernel has no usable nf_tables (${failure.message}): load it (sudo modprobe nf_tables nft_chain_nat), ` +
          `or use a kernel with CONFIG_NF_TABLES and CONFIG_NFT_NAT.`,
      );
  } finally {
    closeSync(scratch);
  }
}

/** A rule of each sort that nodes and pods get. */
const redirected: Rule = [
  { kind: "address", side: "destination", address: "127.9.9.9" },
  { kind: "port", protocol: "tcp", side: "destination", port: 9 },
  { kind: "redirect", port: 10 },
];
const translated: Rule = [
  { kind: "random", modulus: 2, below: 1 },
  { kind: "port", protocol: "tcp", side: "destination", port: 9 },
  { kind: "address", side: "destination", address: "127.9.9.9" },
  { kind: "dnat", address: "127.9.9.8", port: 10 },
];
const probe: Table = {
  family: "inet",
  name: "lab-probe",
  chains: [
    {
      name: "output",
      hook: { type: "nat", hook: "output", priority: -100 },
      rules: [redirected, translated],
    },
    {
      name: "mark",
      hook: { type: "route", hook: "output", priority: -150 },
      rules: [[{ kind: "restore-mark" }]],
    },
  ],
};
