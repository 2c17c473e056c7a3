/** Everything an installed mesh comes across that takes a right: made to happen, and waited for. */
import assert from "node:assert/strict";
import { request } from "node:http";
import { until } from "../../support/until.ts";
import { images, type Cluster } from "../cluster.ts";
import { redirectionOf, type Pod } from "../mesh/capture.ts";
import { systemNamespace } from "../mesh/install.ts";
import { podOf, processOf } from "../mesh/parts-of-ours.ts";
import { apply, ask, client, pod, server } from "../mesh/workloads.ts";
import type { Bench } from "./bench.ts";
import { tellable, toldKinds } from "./control-trial.ts";

/** Control says something of every kind of object that it says something of. @param name of new ones */
export async function somethingSaid(bench: Bench, name: string): Promise<void> {
  await tellable(bench, name);
  for (const { kind } of toldKinds) {
    await until(`control says something of a ${kind}`, 20_000, async () => {
      const found = await bench.admin.get<Managed>(kind, bench.namespace, name);
      return found?.metadata.managedFields.some(({ manager }) => manager === "ambientd-control");
    });
  }
}

/** A label, and traffic. */
export async function labelled(cluster: Cluster, namespace: string): Promise<void> {
  await apply(cluster, namespace, [...server({ name: "web", node: "node2" }), ...client("caller", "node1")]);
  await cluster.mustKubectl(["label", "namespace", namespace, "istio.io/dataplane-mode=ambient"]);
  await cluster.mustKubectl(["wait", "pod", "-l", "app", "-n", namespace, "--for=condition=Ready", "--timeout=60s"]);
  await until("the caller captured", 20_000, async () => {
    return redirectionOf(await cluster.get<Pod>(["pod", "caller", "-n", namespace])) === "enabled";
  });
  const { ok, error } = await ask(cluster, namespace, "caller", `http://web.${namespace}/`);
  assert.ok(ok, error);
}

/** A namespace that is new, and whose root is spoilt then. */
export async function newNamespace({ admin }: Bench, name: string): Promise<void> {
  await admin.create([{ kind: "Namespace", metadata: { name } }]);
  const map = "istio-ca-root-cert";
  const published = async (): Promise<boolean> => {
    const found = await admin.get<{ data?: Record<string, string> }>("ConfigMap", name, map);
    return found?.data?.["root-cert.pem"]?.includes("BEGIN CERTIFICATE") === true;
  };
  await until("the root in a new namespace", 10_000, published);
  await admin.patch("ConfigMap", name, map, { data: { "root-cert.pem": "nonsense" } });
  await until("the root mended", 10_000, published);
}

/** A pod that asks for capture and can't have it; and a runtime that asks for those that nobody has told of. */
export async function oddPods(cluster: Cluster, { namespace }: Bench): Promise<void> {
  const command = ["/app", "pause"];
  const odd = pod("odd", { name: "app", image: images.busybox, command }, "node1", ambient) as { spec: object };
  const hostNetwork = { ...odd, spec: { ...odd.spec, serviceAccountName: "default", hostNetwork: true } };
  await apply(cluster, namespace, [hostNetwork]);
  await until("the event that says why", 15_000, async () => {
    const { stdout } = await cluster.kubectl(["get", "events", "-n", namespace, "-o", "jsonpath={.items[*].reason}"]);
    return stdout.includes("AmbientNotCaptured");
  });
  const root = `/proc/${await processOf(cluster, "cni", "node1")}/root`;
  const asking = [namespace, "nowhere"].map((place) => add(`${root}/var/run/ambientd/cni/pluginevent.sock`, place));
  assert.deepEqual(await Promise.all(asking), [500, 500], "a pod that nobody knows does not pass");
}

/** The status of the daemon's answer to the plugin, for a pod that doesn't exist. */
function add(socketPath: string, namespace: string): Promise<number> {
  const body = JSON.stringify({ Netns: "", PodName: "nobody", PodNamespace: namespace, IPs: null });
  return new Promise((resolve, reject) => {
    const asking = request({ socketPath, path: "/cmdadd", method: "POST" }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    });
    asking.on("error", reject).end(body);
  });
}

/** A node's daemon that is told to end asks whether it is for good. */
export async function replacedDaemon(cluster: Cluster): Promise<void> {
  const { metadata } = await podOf(cluster, "cni", "node2");
  await cluster.mustKubectl(["delete", "pod", metadata.name, "-n", systemNamespace]);
  await cluster.mustKubectl(["rollout", "status", "daemonset/ambientd-cni", "-n", systemNamespace, "--timeout=60s"]);
}

const ambient = { "istio.io/dataplane-mode": "ambient" };

interface Managed {
  readonly metadata: { readonly managedFields: readonly { readonly manager: string }[] };
}
