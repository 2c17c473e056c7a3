/** Whether a node does what a mesh needs of it, judged from what was read. Pure. */
import { hasEnded, isReady, nameOf, type ApiNode, type ApiPod } from "../clients/api-objects.ts";
import type { ConfigDump } from "../clients/agent.ts";
import type { Component } from "../clients/components.ts";
import type { Check } from "../render/checks.ts";
import { captureOf, dataplaneModeLabel, isCaptured, type CaptureFacts } from "./pod-capture.ts";

/** An answer, or why there is none. */
export type Heard<T> =
  | { readonly kind: "answer"; readonly answer: T }
  | { readonly kind: "silent"; readonly why: string; readonly nextStep: string };

export interface NodeFacts {
  readonly node: ApiNode;
  readonly agents: readonly Component[];
  readonly daemons: readonly Component[];
  /** What the node daemon says of itself: GET /readyz. */
  readonly daemonReady: Heard<{ readonly status: number; readonly body: string }>;
  readonly dump: Heard<ConfigDump>;
  /** Every pod of the node. */
  readonly pods: readonly ApiPod[];
  /** Of a pod's namespace. */
  readonly capture: (namespace: string) => CaptureFacts;
  /** Milliseconds since 1970. */
  readonly nowMs: number;
}

/** In the order in which one makes the next possible: look at the first that failed first. */
export function verifyNode(facts: NodeFacts): Check[] {
  const check = (name: string, outcome: Check["outcome"], finding: string, nextStep?: string): Check => ({
    subject: facts.node.metadata.name,
    name,
    outcome,
    finding,
    ...(nextStep !== undefined && outcome !== "ok" && { nextStep }),
  });
  return [
    nodeReady(facts, check),
    componentReady("cni", facts.daemons, facts, check),
    pluginInstalled(facts, check),
    componentReady("agent", facts.agents, facts, check),
    controlConnected(facts, check),
    podsCaptured(facts, check),
    podsServed(facts, check),
    certificatesValid(facts, check),
  ];
}

type Make = (name: string, outcome: Check["outcome"], finding: string, nextStep?: string) => Check;

function nodeReady({ node }: NodeFacts, check: Make): Check {
  const name = node.metadata.name;
  if (isReady(node)) return check("node-ready", "ok", node.status?.nodeInfo?.kubeletVersion ?? "Ready");
  const why = node.status?.conditions?.find(({ type }) => type === "Ready")?.message ?? "it is not Ready";
  return check("node-ready", "failed", why, `kubectl describe node ${name}`);
}

function componentReady(
  component: "agent" | "cni",
  pods: readonly Component[],
  { node }: NodeFacts,
  check: Make,
): Check {
  const name = `${component}-ready`;
  const ready = pods.find((pod) => pod.ready);
  if (ready !== undefined) return check(name, "ok", `${ready.namespace}/${ready.pod}`);
  const [pod] = pods;
  if (pod === undefined) {
    return check(
      name,
      "failed",
      `no ambientd-${component} runs here`,
      `See that the DaemonSet ambientd-${component} wants this node (${node.metadata.name}): its nodeSelector and tolerations.`,
    );
  }
  return check(
    name,
    "failed",
    `${pod.namespace}/${pod.pod}: ${pod.problem ?? "not ready"}`,
    `kubectl -n ${pod.namespace} describe pod ${pod.pod}`,
  );
}

function pluginInstalled({ daemonReady, daemons }: NodeFacts, check: Make): Check {
  if (daemonReady.kind === "silent") return check("plugin-installed", "skipped", daemonReady.why, daemonReady.nextStep);
  const { status, body } = daemonReady.answer;
  const said = body.trim().replaceAll("\n", "; ");
  if (status === 200)
    return check(
      "plugin-installed",
      "ok",
      said === "" || said === "ok" ? "the runtime's network configuration names it" : said,
    );
  const [daemon] = daemons;
  return check(
    "plugin-installed",
    "failed",
    said === "" ? `the node daemon answers ${status}` : said,
    `kubectl -n ${daemon?.namespace ?? ""} logs ${daemon?.pod ?? ""}`,
  );
}

function controlConnected({ dump }: NodeFacts, check: Make): Check {
  if (dump.kind === "silent") return check("control-connected", "skipped", dump.why, dump.nextStep);
  const { xds } = dump.answer;
  if (xds === undefined)
    return check("control-connected", "skipped", "this agent doesn't say", "Its log does: ambientctl log");
  if (xds.phase === "live") return check("control-connected", "ok", "its stream is live");
  const why = xds.lastError === undefined ? "" : `: ${JSON.stringify(xds.lastError)}`;
  return check(
    "control-connected",
    "failed",
    `its stream is ${xds.phase}${why}`,
    "See that ambientd-control is ready (ambientctl version) and that nothing bars port 15012 to it.",
  );
}

function podsCaptured(facts: NodeFacts, check: Make): Check {
  const wanted = facts.pods.map((pod) => ({
    pod,
    capture: captureOf(pod, facts.capture(pod.metadata.namespace ?? "")),
  }));
  const captured = wanted.filter(({ capture }) => capture.state === "captured");
  const missing = wanted.flatMap(({ pod, capture }) =>
    capture.state === "pending" || capture.state === "cannot"
      ? [{ name: nameOf(pod), state: capture.state, why: capture.why }]
      : [],
  );
  if (missing.length === 0) return check("pods-captured", "ok", counted(captured.length, "labelled pod"));
  const [namespace = "", name = ""] = missing[0]?.name.split("/") ?? [];
  const isForGood = missing.every(({ state }) => state === "cannot");
  return check(
    "pods-captured",
    "failed",
    `${missing.length} of ${missing.length + captured.length} are not: ${some(missing.map((one) => `${one.name} (${one.why})`))}`,
    isForGood
      ? `Where that is meant, label those pods ${dataplaneModeLabel}=none; their Events say more: kubectl -n ${namespace} describe pod ${name}`
      : `kubectl -n ${namespace} describe pod ${name} shows its Events.`,
  );
}

function podsServed({ dump, pods }: NodeFacts, check: Make): Check {
  if (dump.kind === "silent") return check("pods-served", "skipped", dump.why, dump.nextStep);
  const states = dump.answer.workloadState ?? {};
  const captured = pods.filter((pod) => isCaptured(pod) && !hasEnded(pod));
  const not = captured.flatMap((pod) => {
    const row = states[pod.metadata.uid ?? ""];
    if (row?.state === "Up") return [];
    return [
      `${nameOf(pod)} (${row === undefined ? "unknown to the agent" : row.state}${row?.error === undefined ? "" : `: ${JSON.stringify(row.error)}`})`,
    ];
  });
  if (not.length === 0) return check("pods-served", "ok", `the agent listens in ${counted(captured.length, "pod")}`);
  return check(
    "pods-served",
    "failed",
    `the agent doesn't serve ${some(not)}`,
    "Their connections wait for it. The agent's log says why; deleting the agent's pod starts it anew.",
  );
}

function certificatesValid({ dump, pods, nowMs }: NodeFacts, check: Make): Check {
  if (dump.kind === "silent") return check("certificates-valid", "skipped", dump.why, dump.nextStep);
  const { certificates } = dump.answer;
  const bad = certificates.flatMap(({ identity, state, certChain }) => {
    const [leaf] = certChain;
    if (leaf === undefined) return [`${identity} (${state})`];
    const endMs = Date.parse(leaf.expirationTime);
    if (endMs <= nowMs) return [`${identity} (expired ${leaf.expirationTime})`];
    return Date.parse(leaf.validFrom) > nowMs
      ? [`${identity} (not valid before ${leaf.validFrom}: compare the clocks)`]
      : [];
  });
  const held = new Set(certificates.map(({ identity }) => identity.replace(/^spiffe:\/\/[^/]+/, "")));
  const without = pods
    .filter((pod) => isCaptured(pod) && !hasEnded(pod))
    .map((pod) => `/ns/${pod.metadata.namespace ?? ""}/sa/${pod.spec.serviceAccountName ?? "default"}`)
    .filter((identity, index, all) => !held.has(identity) && all.indexOf(identity) === index);
  const all = [...bad, ...without.map((identity) => `${identity} (never asked for)`)];
  if (all.length === 0)
    return check("certificates-valid", "ok", counted(certificates.length, "identity", "identities"));
  return check(
    "certificates-valid",
    "failed",
    some(all),
    "The agent's log says what the certificate authority answered: ambientctl certificates, then the log of ambientd-control.",
  );
}

function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

function some(names: readonly string[]): string {
  return names.length > 3 ? `${names.slice(0, 3).join(", ")} and ${names.length - 3} more` : names.join(", ");
}
