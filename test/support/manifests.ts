/** Kubernetes objects for tests, as short as they can be said. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export type Manifest = { readonly apiVersion: string; readonly kind: string; readonly metadata: object } & Record<
  string,
  unknown
>;

export function namespace(name: string, options: { ambient?: boolean } = {}): Manifest {
  const labels = options.ambient === true ? { "istio.io/dataplane-mode": "ambient" } : {};
  return { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } };
}

export interface PodOptions {
  readonly node: string;
  /** Default: the pod's own name. */
  readonly account?: string;
  /** Default `{ app: name }`. */
  readonly labels?: Record<string, string>;
  /** Default: the tests' server on its ports (test/e2e/apps/server.ts). */
  readonly command?: readonly string[];
  readonly ports?: readonly number[];
  /** Names of some of the ports. */
  readonly portNames?: Readonly<Record<string, number>>;
}

/** A pod that serves, unless told otherwise. */
export function pod(where: string, options: PodOptions): Manifest {
  const [ns = "default", name = ""] = where.split("/");
  const {
    node,
    account = name,
    labels = { app: name },
    command = ["node", "test/e2e/apps/server.ts"],
    ports = [8080, 9000],
    portNames = {},
  } = options;
  const named = Object.entries(portNames).map(([name, containerPort]) => ({ name, containerPort }));
  const bare = ports.filter((port) => !Object.values(portNames).includes(port));
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: ns, labels },
    spec: {
      nodeName: node,
      serviceAccountName: account,
      containers: [{ name: "app", command, ports: [...bare.map((containerPort) => ({ containerPort })), ...named] }],
    },
  };
}

/** A pod that only waits: clients are run in it. */
export function idlePod(where: string, options: Omit<PodOptions, "command" | "ports">): Manifest {
  return pod(where, { ...options, command: ["node", "-e", "setInterval(() => {}, 1e9)"], ports: [] });
}

/** Port 80 to 8080, or to what is said, and 9000 to 9006 to themselves, of the pods labelled `app: name`. */
export function service(
  where: string,
  options: { app?: string; clusterIPs?: readonly string[]; webPort?: number | string } = {},
): Manifest {
  const [ns = "default", name = ""] = where.split("/");
  const direct = [9000, 9001, 9002, 9003, 9004, 9005, 9006];
  const ports = [
    { name: "http", port: 80, targetPort: options.webPort ?? 8080 },
    ...direct.map((port) => ({ name: `tcp-${port}`, port, targetPort: port })),
  ];
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: ns },
    spec: {
      selector: { app: options.app ?? name },
      ports,
      ...(options.clusterIPs && { clusterIPs: options.clusterIPs }),
    },
  };
}

export function peerAuthentication(where: string, mode: "STRICT" | "PERMISSIVE"): Manifest {
  const [ns = "", name = ""] = where.split("/");
  return {
    apiVersion: "security.istio.io/v1",
    kind: "PeerAuthentication",
    metadata: { name, namespace: ns },
    spec: { mtls: { mode } },
  };
}

export function authorizationPolicy(where: string, spec: object): Manifest {
  const [ns = "", name = ""] = where.split("/");
  return { apiVersion: "security.istio.io/v1", kind: "AuthorizationPolicy", metadata: { name, namespace: ns }, spec };
}

/** One file that holds them all. */
export function manifestText(manifests: readonly Manifest[]): string {
  return manifests.map((manifest) => JSON.stringify(manifest, undefined, 2)).join("\n---\n");
}

/** A folder with the manifests in `mesh.yaml`, and the way to remove it. */
export function manifestFolder(manifests: readonly Manifest[]): { readonly folder: string; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), "ambientd-manifests-"));
  writeFileSync(join(folder, "mesh.yaml"), manifestText(manifests));
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
