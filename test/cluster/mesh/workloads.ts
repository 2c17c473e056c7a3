/** The objects that tests put into namespaces: servers with real probes, clients, Services. */
import { until } from "../../support/until.ts";
import { images, type Cluster } from "../cluster.ts";

export interface ServerOptions {
  readonly name: string;
  readonly node?: string;
  readonly replicas?: number;
  /** Text that every answer carries, to be looked for on links. */
  readonly marker?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** One replica a node. */
  readonly spread?: boolean;
  /** Seconds the application goes on serving after SIGTERM; 0: it ends at once. */
  readonly drainSeconds?: number;
}

/** A Deployment with its ServiceAccount and its Service: HTTP on 8080 (Service port 80), echo on 9000, and all three kinds of probes. */
export function server(options: ServerOptions): object[] {
  const { name, node, replicas = 1, marker = "", labels = {}, drainSeconds = 0, spread = false } = options;
  const every = { periodSeconds: 1, failureThreshold: 3, timeoutSeconds: 2 };
  const container = {
    name: "app",
    image: images.app,
    args: ["serve", "-marker", marker, "-drain", `${drainSeconds}s`],
    ports: [
      { name: "web", containerPort: 8080 },
      { name: "echo", containerPort: 9000 },
    ],
    startupProbe: { exec: { command: ["/app", "probe"] }, ...every, failureThreshold: 30 },
    readinessProbe: { httpGet: { path: "/readyz", port: "web" }, ...every },
    livenessProbe: { tcpSocket: { port: "echo" }, ...every },
  };
  return [
    serviceAccount(name),
    {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name },
      spec: {
        replicas,
        selector: { matchLabels: { app: name } },
        strategy: { rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
        template: {
          metadata: { labels: { app: name, ...labels } },
          spec: {
            ...podSpec(name, node, container),
            ...(spread ? { topologySpreadConstraints: [oneANode(name)] } : {}),
          },
        },
      },
    },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name },
      spec: {
        selector: { app: name },
        ports: [
          { name: "http-web", port: 80, targetPort: "web" },
          { name: "tcp-echo", port: 9000, targetPort: "echo" },
        ],
      },
    },
  ];
}

/** A pod that does nothing of itself: tests run programs in it. */
export function client(name: string, node?: string, labels: Readonly<Record<string, string>> = {}): object[] {
  return [
    serviceAccount(name),
    pod(name, { name: "app", image: images.busybox, command: ["/app", "pause"] }, node, labels),
  ];
}

/** One pod, under the service account of its own name unless another is named. */
export function pod(
  name: string,
  container: object,
  node?: string,
  labels: Readonly<Record<string, string>> = {},
  account = name,
): object {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, labels: { app: name, ...labels } },
    spec: podSpec(account, node, container),
  };
}

export async function apply(cluster: Cluster, namespace: string, objects: readonly object[]): Promise<void> {
  const list = { apiVersion: "v1", kind: "List", items: objects };
  await cluster.mustKubectl(["apply", "-n", namespace, "-f", "-"], JSON.stringify(list));
}

/** Settles when every Deployment has all its pods and every pod that isn't on its way out is Ready. */
export async function ready(cluster: Cluster, namespace: string, seconds = 60): Promise<void> {
  const isReady = async (): Promise<boolean> => {
    const { items } = await cluster.get<{ items: Settling[] }>(["deployments,pods", "-n", namespace]);
    return items.length > 0 && items.every(isSettled);
  };
  await until(`all pods of ${namespace} are Ready`, seconds * 1_000, isReady).catch(async (error: Error) => {
    const pods = await cluster.kubectl(["get", "pods", "-n", namespace, "-o", "wide"]);
    const events = await cluster.kubectl(["get", "events", "-n", namespace, "--sort-by=.lastTimestamp"]);
    throw new Error(`${error.message}\n${pods.stdout}\n${events.stdout.split("\n").slice(-12).join("\n")}`);
  });
}

/** What is read of Deployments and pods. */
interface Settling {
  readonly kind: string;
  readonly metadata: { readonly generation?: number; readonly deletionTimestamp?: string };
  readonly spec: { readonly replicas?: number };
  readonly status: {
    readonly observedGeneration?: number;
    readonly updatedReplicas?: number;
    readonly readyReplicas?: number;
    readonly phase?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

function isSettled({ kind, metadata, spec, status }: Settling): boolean {
  if (metadata.deletionTimestamp !== undefined) return true;
  if (kind === "Deployment") {
    const { observedGeneration, updatedReplicas = 0, readyReplicas = 0 } = status;
    const wanted = spec.replicas ?? 1;
    return observedGeneration === metadata.generation && updatedReplicas === wanted && readyReplicas >= wanted;
  }
  if (status.phase === "Succeeded") return true;
  return status.conditions?.some(({ type, status: value }) => type === "Ready" && value === "True") === true;
}

/** What the application in a pod hears when it asks a URL: the server's answer, or the error. */
export async function ask(cluster: Cluster, namespace: string, from: string, url: string): Promise<Asked> {
  const { stdout, stderr } = await cluster.execInPod(namespace, from, ["/app", "get", url]);
  try {
    return JSON.parse(stdout.split("\n")[0] ?? "") as Asked;
  } catch {
    return { ok: false, error: stderr.trim() || stdout.trim() };
  }
}

export interface Asked {
  readonly ok: boolean;
  readonly status?: number;
  readonly error?: string;
  readonly body?: { readonly pod: string; readonly peer: string; readonly marker: string };
}

export function serviceAccount(name: string): object {
  return { apiVersion: "v1", kind: "ServiceAccount", metadata: { name } };
}

function oneANode(name: string): object {
  return {
    maxSkew: 1,
    topologyKey: "kubernetes.io/hostname",
    whenUnsatisfiable: "ScheduleAnyway",
    labelSelector: { matchLabels: { app: name } },
    matchLabelKeys: ["pod-template-hash"],
  };
}

function podSpec(serviceAccountName: string, node: string | undefined, container: object): object {
  return {
    serviceAccountName,
    terminationGracePeriodSeconds: 5,
    ...(node === undefined ? {} : { nodeSelector: { "kubernetes.io/hostname": node } }),
    containers: [{ imagePullPolicy: "Never", ...container }],
  };
}
