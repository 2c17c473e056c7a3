/** Names, addresses and paths of a cluster: fixed, so that whatever is left of one is found again. */
import { join } from "node:path";

/**
 * Which of the machine's clusters this process speaks of: 0 as a rule. Tests of the harness itself have another one beside it
 * (`AMBIENTD_CLUSTER_NUMBER`, 0 to 9).
 */
export const clusterNumber = Number(/^\d$/.exec(process.env["AMBIENTD_CLUSTER_NUMBER"] ?? "")?.[0] ?? 0);
const prefix = `ambientd${clusterNumber === 0 ? "" : clusterNumber}`;

/** Everything a cluster keeps on disk; only root may enter. */
export const stateFolder = `/var/lib/${prefix}-cluster`;
export const kubeconfig = join(stateFolder, "kubeconfig");
export const logFolder = join(stateFolder, "log");
export const pkiFolder = join(stateFolder, "pki");
/** What the API server was asked by service accounts, a JSON object a line (audit.k8s.io/v1, level Metadata). */
export const auditLog = join(logFolder, "audit.jsonl");

const network = `172.31.${240 + clusterNumber}`;
export const bridge = `${prefix}-hub`;
export const hubAddress = `${network}.1`;
export const hubPrefix = 24;
export const apiPort = 6443;
export const apiUrl = `https://${hubAddress}:${apiPort}`;
export const etcdPorts = { client: 23790 + clusterNumber, peer: 23800 + clusterNumber } as const;

/** All nodes' pods. The host routes to them: each cluster has its own. */
export const podRange = `10.${244 + clusterNumber}.0.0/16`;
export const serviceRange = "10.96.0.0/16";
/** The first address of the range is the API server's own Service. */
export const apiService = "10.96.0.1";
export const dnsService = "10.96.0.10";

export interface NodeLayout {
  readonly name: string;
  /** On the bridge. */
  readonly address: string;
  readonly podRange: string;
  /** The end of its link that stays on the host: all that enters or leaves the node passes it. */
  readonly linkInterface: string;
  readonly folder: string;
  /** Parent of its pods' cgroups, in every hierarchy: two kubelets under one would remove each other's. */
  readonly cgroup: string;
}

export const nodeLayouts: readonly NodeLayout[] = [1, 2].map((number) => ({
  name: `node${number}`,
  address: `${network}.1${number}`,
  podRange: `10.${244 + clusterNumber}.${number}.0/24`,
  linkInterface: `${prefix}-node${number}`,
  folder: join(stateFolder, "nodes", `node${number}`),
  cgroup: `${prefix}-node${number}`,
}));

/** Images that every node has from the beginning. */
export const images = {
  /** The sandbox of every pod. */
  pause: "ambientd.test/pause:1",
  /** The tests' server, client and load generator (test/cluster/app) and nothing else. */
  app: "ambientd.test/app:1",
  /** A shell with the usual tools, and the app beside them. */
  busybox: "ambientd.test/busybox:1",
  coredns: "ambientd.test/coredns:1",
} as const;
