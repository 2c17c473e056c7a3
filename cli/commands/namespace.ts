/** `ambientctl namespace enroll|unenroll`: a namespace's pods into the mesh and out of it, live, and how far that has come. */
import { setTimeout as pause } from "node:timers/promises";
import { Command } from "commander";
import { KubeError } from "../../control/sources/kubernetes/errors.ts";
import { collectionPath, objectPath } from "../../control/sources/kubernetes/paths.ts";
import {
  dataplaneModeLabel,
  isCaptured,
  progressOf,
  type CaptureFacts,
  type Progress,
} from "../analyze/pod-capture.ts";
import type { ApiEvent, ApiNamespace, ApiPod } from "../clients/api-objects.ts";
import { hasEnded, nameOf } from "../clients/api-objects.ts";
import { apiFailure } from "../clients/api-failure.ts";
import { listAll, tryListAll, type Cluster } from "../clients/cluster.ts";
import { findComponents } from "../clients/components.ts";
import { exitCodes } from "../exit-codes.ts";
import { formatOf } from "../global-options.ts";
import { duration } from "../render/arguments.ts";
import { Failure } from "../render/failure.ts";
import { renderData, say } from "../render/output.ts";
import { chooseCluster } from "../target.ts";

interface Options {
  readonly wait: boolean;
  /** Milliseconds. */
  readonly timeout: number;
}

export function namespaceCommand(): Command {
  const group = new Command("namespace").alias("ns").description("take namespaces into the mesh, or out of it");
  group.addCommand(change("enroll", "label namespaces, so that their pods are captured as they run", true));
  group.addCommand(change("unenroll", "take the label away, so that their pods are let go as they run", false));
  return group;
}

function change(name: string, description: string, enroll: boolean): Command {
  const command = new Command(name).description(description);
  return command
    .argument("<name...>", "namespaces")
    .option("-w, --wait", "until every pod is where it should be", false)
    .option("--timeout <time>", "how long to wait", duration, 120_000)
    .action(async (names: string[], options: Options) => {
      const label = `${dataplaneModeLabel}${enroll ? "=ambient" : "-"}`;
      const cluster = await chooseCluster(
        command,
        `For a lab: ambientctl lab label namespace ${names[0] ?? "NAME"} ${label}`,
      );
      const results: object[] = [];
      for (const namespace of names) {
        const isChanged = await setLabel(cluster, namespace, enroll ? "ambient" : null);
        say(`namespace/${namespace} ${isChanged ? "" : "was already "}${enroll ? "enrolled" : "unenrolled"}`);
        if (!options.wait) continue;
        const watched = enroll
          ? await untilCaptured(cluster, namespace, options)
          : await untilReleased(cluster, namespace, options);
        results.push({ namespace, ...watched });
      }
      const format = formatOf(command);
      if (format !== "table")
        process.stdout.write(renderData(format, options.wait ? results : names.map((namespace) => ({ namespace }))));
    });
}

/** @returns whether anything had to be changed. @throws Failure for a namespace that isn't there. */
async function setLabel(cluster: Cluster, name: string, value: "ambient" | null): Promise<boolean> {
  const path = objectPath("Namespace", "", name);
  const before = await cluster.client.get<ApiNamespace>(path);
  if (before instanceof KubeError) {
    throw before.type.code === "kube.not-found" ? await noSuchNamespace(cluster, name) : apiFailure(before);
  }
  if ((before.metadata.labels?.[dataplaneModeLabel] ?? null) === value) return false;
  const patch = { metadata: { labels: { [dataplaneModeLabel]: value } } };
  const after = await cluster.client.patch<ApiNamespace>(path, patch, "merge");
  if (after instanceof KubeError) throw apiFailure(after);
  return true;
}

async function noSuchNamespace(cluster: Cluster, name: string): Promise<Failure> {
  const all = await tryListAll<ApiNamespace>(cluster, collectionPath("Namespace"));
  const names = all instanceof KubeError ? [] : all.map(({ metadata }) => metadata.name);
  return new Failure(
    `There is no namespace ${name} in this cluster.`,
    names.length === 0 || names.length > 30
      ? "Check its name, and --context for another cluster."
      : `There are ${names.join(", ")}; --context chooses another cluster.`,
  );
}

/** Says how far it is each time that changes. Exit code 1 where time ran out, or a pod can't be captured at all. */
async function untilCaptured(cluster: Cluster, namespace: string, { timeout }: Options): Promise<Progress> {
  const endMs = performance.now() + timeout;
  let said = "";
  for (;;) {
    const facts = await factsOf(cluster, namespace);
    if (said === "" && facts.daemonNodes === undefined)
      say("  No ready ambientd-cni can be seen in this cluster; ambientctl version lists what runs.");
    const progress = progressOf(await podsOf(cluster, namespace), facts);
    const sentence = `  ${progress.captured} captured, ${progress.pending.length} pending${progress.cannot.length > 0 ? `, ${progress.cannot.length} can't be` : ""}`;
    if (sentence !== said) say(sentence);
    said = sentence;
    const isDone = progress.pending.length === 0;
    if (!isDone && performance.now() < endMs) {
      await pause(pollMs);
      continue;
    }
    for (const { pod, why } of progress.cannot) say(`  ${pod} can't be captured: ${why}.`);
    for (const { pod, why } of progress.pending) say(`  ${pod} is still pending: ${why}.`);
    if (!isDone) say(`  Not done within ${timeout / 1000} s. What its node says: ambientctl verify node`);
    if (!isDone || progress.cannot.length > 0) process.exitCode = exitCodes.failed;
    return progress;
  }
}

async function untilReleased(cluster: Cluster, namespace: string, { timeout }: Options): Promise<object> {
  const endMs = performance.now() + timeout;
  let said = "";
  for (;;) {
    const pods = (await podsOf(cluster, namespace)).filter((pod) => !hasEnded(pod));
    const staying = pods.filter((pod) => isCaptured(pod) && pod.metadata.labels?.[dataplaneModeLabel] === "ambient");
    const left = pods.filter((pod) => isCaptured(pod) && !staying.includes(pod));
    const sentence = `  ${pods.length - left.length - staying.length} out of the mesh, ${left.length} still captured`;
    if (sentence !== said) say(sentence);
    said = sentence;
    if (left.length > 0 && performance.now() < endMs) {
      await pause(pollMs);
      continue;
    }
    for (const pod of staying)
      say(`  ${nameOf(pod)} stays in the mesh: its own label ${dataplaneModeLabel}=ambient says so.`);
    for (const pod of left) say(`  ${nameOf(pod)} is still captured.`);
    if (left.length > 0) {
      say(`  Not done within ${timeout / 1000} s. What its node says: ambientctl verify node`);
      process.exitCode = exitCodes.failed;
    }
    return {
      released: pods.length - left.length - staying.length,
      captured: left.map(nameOf),
      staying: staying.map(nameOf),
    };
  }
}

function podsOf(cluster: Cluster, namespace: string): Promise<ApiPod[]> {
  return listAll<ApiPod>(cluster, collectionPath("Pod", namespace));
}

/** What one may not read is left out: it only explains. */
async function factsOf(cluster: Cluster, namespace: string): Promise<CaptureFacts> {
  const [labels, events, daemons] = await Promise.all([
    cluster.client.get<ApiNamespace>(objectPath("Namespace", "", namespace)),
    tryListAll<ApiEvent>(cluster, `/api/v1/namespaces/${encodeURIComponent(namespace)}/events`, {
      fieldSelector: "type=Warning,involvedObject.kind=Pod",
    }),
    findComponents(cluster).catch(() => undefined),
  ]);
  const cni = daemons?.filter(({ component, ready }) => component === "cni" && ready);
  return {
    namespaceLabels: labels instanceof KubeError ? { [dataplaneModeLabel]: "ambient" } : (labels.metadata.labels ?? {}),
    daemonNodes: cni === undefined || cni.length === 0 ? undefined : new Set(cni.map(({ node }) => node)),
    warnings: events instanceof KubeError ? [] : events,
    excluded: new Set(["kube-system", ...(daemons ?? []).map((one) => one.namespace)]),
  };
}

/** Milliseconds between two looks. */
const pollMs = 1000;
