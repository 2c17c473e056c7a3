/** Any other agent, by a command line: run once in each pod, behind the redirection that ours has. The contract is in README.md. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { messageOf } from "../../core/base/errors.ts";
import { ports, proxyMark } from "../../cni/daemon/rules.ts";
import type { AbsentSide, RunningSide } from "../side.ts";
import { certificatesFor, type PairOfCertificates } from "./authority.ts";
import { runningPair } from "./pair.ts";
import { ProxyProcess } from "./proxy-process.ts";
import { outboundPort, redirect, tunnelPort } from "./redirect.ts";
import type { Stage } from "./stage.ts";

export type End = "client" | "server";

/** @param commandLine for `sh -c`; absent or empty where there is no other agent. */
export async function startExternal(stage: Stage, commandLine: string | undefined): Promise<RunningSide | AbsentSide> {
  const absent = (reason: string): AbsentSide => ({ name: "external", absent: reason });
  if (commandLine === undefined || commandLine === "")
    return absent("no other agent: BENCH_AGENT holds no command line (see bench/README.md).");
  const { client, server, folder } = stage;
  if (client.netns === undefined || server.netns === undefined)
    return absent("another agent needs root: it keeps clients' addresses.");
  try {
    mkdirSync(folder, { recursive: true });
    const certificates = certificatesFor("external", folder, Date.now());
    const mesh = join(folder, "mesh.yaml");
    writeFileSync(mesh, meshDescription(stage));
    const start = (end: End, port: number): Promise<ProxyProcess | string> => {
      const environment = externalEnvironment(end, stage, certificates, mesh);
      const pairs = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
      return ProxyProcess.start(`the ${end}'s agent`, stage[end], ["env", ...pairs, "sh", "-c", commandLine], [port]);
    };
    await redirect(client.netns, { uid: externalUser });
    await redirect(server.netns, { uid: externalUser });
    const atServer = await start("server", tunnelPort);
    const atClient = await start("client", outboundPort);
    return await runningPair("external", stage, atClient, atServer);
  } catch (thrown) {
    return absent(`the other agent could not be put into its pods: ${messageOf(thrown)}.`);
  }
}

/** What an end is told. Pure. */
export function externalEnvironment(
  end: End,
  stage: Stage,
  certificates: PairOfCertificates,
  mesh: string,
): Readonly<Record<string, string>> {
  const other = end === "client" ? "server" : "client";
  return {
    BENCH_END: end,
    BENCH_NAMESPACE: namespace,
    BENCH_POD: end,
    BENCH_SERVICE_ACCOUNT: end,
    BENCH_NODE: nodes[end],
    BENCH_ADDRESS: stage[end].address,
    BENCH_PEER_ADDRESS: stage[other].address,
    BENCH_NETNS: stage[end].netnsInside,
    BENCH_PEER_NETNS: stage[other].netnsInside,
    BENCH_IDENTITY: certificates[end].uri,
    BENCH_PEER_IDENTITY: certificates[other].uri,
    BENCH_CERTIFICATE: certificates[end].chain,
    BENCH_KEY: certificates[end].key,
    BENCH_ROOTS: certificates[end].roots,
    BENCH_AUTHORITY: certificates.authorityFolder,
    BENCH_MESH: mesh,
    BENCH_OUTBOUND_PORT: String(outboundPort),
    BENCH_TUNNEL_PORT: String(tunnelPort),
    BENCH_PLAINTEXT_PORT: String(ports.inboundPlaintext),
    BENCH_MARK: String(proxyMark.value),
    BENCH_UID: String(externalUser),
    BENCH_WORKERS: String(stage.workers),
  };
}

/** The two workloads, as a field's agent reads a mesh from a file (LOCAL_XDS_PATH, agent-wire 4.9). Pure. */
export function meshDescription(stage: Stage): string {
  const workloads = (["client", "server"] as const).map((end) => ({
    uid: `Kubernetes//Pod/${namespace}/${end}`,
    name: end,
    namespace,
    serviceAccount: end,
    trustDomain: "cluster.local",
    workloadIps: [stage[end].address],
    protocol: "HBONE",
    node: nodes[end],
    network: "",
    workloadName: end,
    workloadType: "pod",
    canonicalName: end,
    canonicalRevision: "latest",
    clusterId: "Kubernetes",
    status: "Healthy",
    services: {},
  }));
  return stringify({ workloads, services: [], policies: [] });
}

const namespace = "bench-external";
const nodes = { client: "node1", server: "node2" } as const;
/** Nobody else's. */
const externalUser = 65_020;
