/** What of ambientd runs in a cluster: pods by their labels, never by their names. */
import { collectionPath } from "../../control/sources/kubernetes/paths.ts";
import { KubeError } from "../../control/sources/kubernetes/errors.ts";
import { Failure } from "../render/failure.ts";
import { apiFailure } from "./api-failure.ts";
import { hasEnded, isReady, type ApiPod } from "./api-objects.ts";
import { listAll, tryListAll, type Cluster } from "./cluster.ts";

export type ComponentName = "control" | "agent" | "cni";

export interface Component {
  readonly component: ComponentName;
  readonly namespace: string;
  readonly pod: string;
  /** Empty while it isn't scheduled. */
  readonly node: string;
  readonly container: string;
  readonly image: string;
  /** The digest the node runs; empty until it does. */
  readonly digest: string;
  readonly ready: boolean;
  /** Why it isn't ready, as far as its pod says. */
  readonly problem: string | undefined;
  readonly running: boolean;
  readonly isEnding: boolean;
  /** Which release its chart says it is; empty where it doesn't. */
  readonly release: string;
}

/** Where a chart without further words puts it. */
export const defaultNamespace = "ambient-system";

const named = "app.kubernetes.io/name=ambientd";
/** An agent that lives on for its last connections beside the next one: the node daemon has taken it out of its DaemonSet. */
const relieved = "agent-relieved";

/** Every pod of ours, in order of component and node. @throws Failure where the API server says no. */
export async function findComponents(cluster: Cluster): Promise<Component[]> {
  const pods = await podsOf(cluster, `${named},app.kubernetes.io/component in (control,agent,${relieved},cni)`);
  const ours = pods.map((pod) => {
    const component = pod.metadata.labels?.["app.kubernetes.io/component"];
    return componentOf(pod, component === relieved ? "agent" : (component as ComponentName));
  });
  return ours.sort((a, b) => compare(a.component, b.component) || compare(a.node, b.node) || compare(a.pod, b.pod));
}

/** Our agents; where there are none, ztunnels, which answer alike. @throws Failure where there are neither. */
export async function findAgents(cluster: Cluster): Promise<Component[]> {
  const ours = await podsOf(cluster, `${named},app.kubernetes.io/component in (agent,${relieved})`);
  const pods = ours.length > 0 ? ours : await podsOf(cluster, "app=ztunnel");
  if (pods.length === 0) {
    const { systemNamespace } = cluster.flags;
    throw new Failure(
      `No agent runs in ${systemNamespace === undefined ? "this cluster" : `namespace ${systemNamespace}`}.`,
      systemNamespace === undefined
        ? "Install ambientd first (ambientctl install), or choose another cluster: --context."
        : "Leave out --system-namespace to look in all of them.",
    );
  }
  return pods.map((pod) => componentOf(pod, "agent")).sort((a, b) => compare(a.node, b.node) || compare(a.pod, b.pod));
}

/** In all namespaces, or where only one may be read in that one. */
async function podsOf(cluster: Cluster, labelSelector: string): Promise<ApiPod[]> {
  const { systemNamespace } = cluster.flags;
  const everywhere = await tryListAll<ApiPod>(cluster, collectionPath("Pod", systemNamespace), { labelSelector });
  if (!(everywhere instanceof KubeError)) return everywhere.filter((pod) => !hasEnded(pod));
  if (everywhere.type.code !== "kube.forbidden" || systemNamespace !== undefined) throw apiFailure(everywhere);
  const there = await listAll<ApiPod>(cluster, collectionPath("Pod", defaultNamespace), { labelSelector });
  return there.filter((pod) => !hasEnded(pod));
}

function componentOf(pod: ApiPod, component: ComponentName): Component {
  const named = pod.metadata.annotations?.["kubectl.kubernetes.io/default-container"];
  const container =
    pod.spec.containers.find(({ name }) => name === named || name === component) ?? pod.spec.containers[0];
  const status = pod.status?.containerStatuses?.find(({ name }) => name === container?.name);
  return {
    component,
    namespace: pod.metadata.namespace ?? "",
    pod: pod.metadata.name,
    node: pod.spec.nodeName ?? "",
    container: container?.name ?? "",
    image: container?.image ?? "",
    digest: /sha256:[0-9a-f]{64}/.exec(status?.imageID ?? "")?.[0] ?? "",
    ready: isReady(pod) && pod.metadata.deletionTimestamp === undefined,
    problem: problemOf(pod),
    running: pod.status?.phase === "Running",
    isEnding: pod.metadata.deletionTimestamp !== undefined,
    release: pod.metadata.labels?.["app.kubernetes.io/version"] ?? "",
  };
}

function problemOf(pod: ApiPod): string | undefined {
  if (pod.metadata.deletionTimestamp !== undefined) return "it is ending";
  if (isReady(pod)) return undefined;
  for (const { name, state, restartCount = 0 } of pod.status?.containerStatuses ?? []) {
    if (state?.waiting?.reason !== undefined) {
      const { reason, message = "" } = state.waiting;
      return `${name}: ${reason}${message === "" ? "" : ` (${message})`}${restartCount > 0 ? `, restarted ${restartCount} times` : ""}`;
    }
  }
  const unmet = pod.status?.conditions?.find(({ status, message = "" }) => status === "False" && message !== "");
  return unmet?.message ?? `phase ${pod.status?.phase ?? "unknown"}`;
}

/** `0.1.0` of `registry:5000/ambientd:0.1.0@sha256:…`; a digest's beginning where there is no tag. */
export function versionOfImage(image: string): string {
  const [named = "", digest] = image.split("@");
  const tag = /:([^/:]+)$/.exec(named)?.[1];
  return tag ?? digest?.slice(0, 19) ?? "latest";
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
