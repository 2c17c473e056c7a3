/** The release, in this process, as an account of its own, in a namespace that looks like an installation without pods. */
import { silentLog } from "../../../core/base/log.ts";
import { systemClock } from "../../../core/base/clock.ts";
import { release, type ReleaseOutcome } from "../../../control/release/release.ts";
import { objectPath, apiVersionOf } from "../../../control/sources/kubernetes/paths.ts";
import { must } from "./accounts.ts";
import { clientOf, type Bench } from "./bench.ts";
import { tellable, toldKinds } from "./control-trial.ts";

/** Everything that a release takes away, as control and the chart would have left it. */
export async function leaveTraces({ admin, audit, namespace }: Bench, name: string): Promise<void> {
  const labels = { "app.kubernetes.io/name": "ambientd" };
  const home = { namespace };
  const template = { metadata: { labels: { app: "none" } }, spec: { containers: [{ name: "none", image: "none" }] } };
  const selector = { matchLabels: { app: "none" } };
  const nowhere = { ...template, spec: { ...template.spec, nodeSelector: { nowhere: "true" } } };
  await admin.create([
    { kind: "DaemonSet", metadata: { name: "ambientd-cni", ...home }, spec: { selector, template: nowhere } },
    { kind: "Deployment", metadata: { name: "ambientd-control", ...home }, spec: { replicas: 0, selector, template } },
    { kind: "Lease", metadata: { name: "ambientd-control", ...home }, spec: {} },
    { kind: "Secret", metadata: { name: "istio-ca-secret", ...home, labels }, data: {} },
    { kind: "ConfigMap", metadata: { name: "istio-ca-root-cert", ...home }, data: {} },
  ]);
  await tellable({ admin, audit, namespace }, name);
  for (const { kind } of toldKinds) {
    const body = {
      ...{ apiVersion: apiVersionOf(kind), kind, metadata: { name, namespace } },
      status: { conditions: [{ ...said, type: kind === "AuthorizationPolicy" ? "ZtunnelAccepted" : said.type }] },
    };
    const query = { fieldManager: "ambientd-control", force: true };
    must(await admin.client.patch(objectPath(kind, namespace, name, "status"), body, "apply", query));
  }
}

export async function tryRelease(bench: Bench, account: string): Promise<ReleaseOutcome> {
  const client = await clientOf(bench, account);
  const config = { namespace: bench.namespace, timeoutMs: 10_000, keepRoot: false, keepControl: false };
  try {
    return await release(config, { client, clock: systemClock, log: silentLog });
  } finally {
    client.close();
  }
}

/** What is left of leaveTraces. */
export async function tracesLeft({ admin, namespace }: Bench, name: string): Promise<string[]> {
  const left: string[] = [];
  for (const [kind, what] of [
    ["Lease", "ambientd-control"],
    ["Secret", "istio-ca-secret"],
    ["ConfigMap", "istio-ca-root-cert"],
  ] as const) {
    if ((await admin.get(kind, namespace, what)) !== undefined) left.push(kind);
  }
  for (const { kind } of toldKinds) {
    const found = await admin.get<Managed>(kind, namespace, name);
    if (found?.metadata.managedFields.some(({ manager }) => manager === "ambientd-control") === true) left.push(kind);
  }
  return left;
}

interface Managed {
  readonly metadata: { readonly managedFields: readonly { readonly manager: string }[] };
}

const said = {
  ...{ type: "istio.io/WaypointBound", status: "False", reason: "Test", message: "" },
  lastTransitionTime: "2026-01-01T00:00:00Z",
};
