/** Whether pods are in the mesh, by what their node's daemon says on them. */
import type { Cluster } from "../cluster.ts";
import { until } from "../../support/until.ts";

export interface Pod {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly deletionTimestamp?: string;
  };
  readonly spec: { readonly nodeName?: string };
  readonly status: {
    readonly podIP?: string;
    readonly containerStatuses?: readonly {
      readonly restartCount: number;
      readonly ready: boolean;
      readonly containerID?: string;
    }[];
  };
}

export async function podsOf(cluster: Cluster, namespace: string, ...flags: readonly string[]): Promise<Pod[]> {
  return (await cluster.get<{ items: Pod[] }>(["pods", "-n", namespace, ...flags])).items;
}

/** `enabled`, `pending`, or undefined: out of the mesh. */
export function redirectionOf({ metadata }: Pod): string | undefined {
  return metadata.annotations?.["ambient.istio.io/redirection"];
}

/** Settles when every pod of the namespace is captured, or none. */
export async function captured(cluster: Cluster, namespace: string, yes: boolean, deadlineMs = 30_000): Promise<void> {
  await until(`pods of ${namespace} ${yes ? "captured" : "released"}`, deadlineMs, async () => {
    const pods = await podsOf(cluster, namespace);
    const others = pods.filter((pod) => redirectionOf(pod) !== (yes ? "enabled" : undefined));
    if (others.length === 0) return true;
    throw new Error(others.map((pod) => `${pod.metadata.name} ${redirectionOf(pod) ?? "-"}`).join(", "));
  });
}

/** What tells a pod that was left alone from one that was started again. */
export function lives(pods: readonly Pod[]): string[] {
  return pods
    .map(({ metadata, status }) => {
      const container = status.containerStatuses?.[0];
      return `${metadata.name} ${metadata.uid} ${container?.containerID} ${container?.restartCount}`;
    })
    .sort();
}
