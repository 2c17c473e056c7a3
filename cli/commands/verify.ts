/** `ambientctl verify node`: whether each node does its part, line by line, for people at night and for CI. */
import { Command } from "commander";
import { collectionPath } from "../../control/sources/kubernetes/paths.ts";
import { KubeError } from "../../control/sources/kubernetes/errors.ts";
import type { CaptureFacts } from "../analyze/pod-capture.ts";
import { verifyNode, type Heard, type NodeFacts } from "../analyze/verify-node.ts";
import { configDump } from "../clients/agent.ts";
import type { ApiEvent, ApiNamespace, ApiNode, ApiPod } from "../clients/api-objects.ts";
import { mapBounded } from "../clients/bounded.ts";
import { listAll, tryListAll, type Cluster } from "../clients/cluster.ts";
import { agentOf } from "../clients/cluster-agents.ts";
import { findComponents, type Component } from "../clients/components.ts";
import { getFromPod, type PodAnswer } from "../clients/pod-http.ts";
import { exitCodes } from "../exit-codes.ts";
import { formatOf } from "../global-options.ts";
import { hasFailed, renderChecks } from "../render/checks.ts";
import { Failure } from "../render/failure.ts";
import { renderData } from "../render/output.ts";
import { chooseCluster } from "../target.ts";

export function verifyCommand(): Command {
  const group = new Command("verify").description(
    "check that the mesh does what it should; exit 1 where it doesn't, 3 where that can't be said",
  );
  const command = new Command("node").description("check nodes: daemons, plugin, control, captured pods, certificates");
  command.argument("[name...]", "nodes (default: all that could take part)").action(async (names: string[]) => {
    const cluster = await chooseCluster(command, "For a lab: npm start -- --check");
    const world = await readWorld(cluster);
    const nodes = chooseNodes(world, names);
    const checks = (
      await mapBounded(nodes, atOnce, async (node) => verifyNode(await factsOf(cluster, world, node)))
    ).flat();
    const format = formatOf(command);
    process.stdout.write(format === "table" ? renderChecks(checks) : renderData(format, checks));
    if (hasFailed(checks)) process.exitCode = exitCodes.failed;
    else if (checks.some(({ outcome }) => outcome === "skipped")) process.exitCode = exitCodes.partly;
  });
  group.addCommand(command);
  return group;
}

interface World {
  readonly nodes: readonly ApiNode[];
  readonly pods: readonly ApiPod[];
  readonly components: readonly Component[];
  readonly captureFacts: (namespace: string) => CaptureFacts;
}

async function readWorld(cluster: Cluster): Promise<World> {
  const [nodes, pods, namespaces, events, components] = await Promise.all([
    listAll<ApiNode>(cluster, collectionPath("Node")),
    listAll<ApiPod>(cluster, collectionPath("Pod")),
    listAll<ApiNamespace>(cluster, collectionPath("Namespace")),
    tryListAll<ApiEvent>(cluster, "/api/v1/events", { fieldSelector: "type=Warning,involvedObject.kind=Pod" }),
    findComponents(cluster),
  ]);
  if (components.length === 0) {
    throw new Failure(
      "ambientd is not installed in this cluster.",
      "ambientctl install does it; --context chooses another cluster.",
    );
  }
  const labels = new Map(namespaces.map(({ metadata }) => [metadata.name, metadata.labels ?? {}]));
  const daemonNodes = new Set(
    components.filter(({ component, ready }) => component === "cni" && ready).map(({ node }) => node),
  );
  const excluded = new Set(["kube-system", ...components.map(({ namespace }) => namespace)]);
  const warnings = events instanceof KubeError ? [] : events;
  return {
    nodes,
    pods,
    components,
    captureFacts: (namespace) => ({ namespaceLabels: labels.get(namespace) ?? {}, daemonNodes, warnings, excluded }),
  };
}

/** @throws Failure for one that isn't there. */
function chooseNodes({ nodes, components }: World, names: readonly string[]): ApiNode[] {
  const unknown = names.filter((name) => !nodes.some(({ metadata }) => metadata.name === name));
  if (unknown.length > 0) {
    throw new Failure(
      `There is no node ${unknown.join(", ")}.`,
      `There are ${nodes.map(({ metadata }) => metadata.name).join(", ")}.`,
    );
  }
  if (names.length > 0) return nodes.filter(({ metadata }) => names.includes(metadata.name));
  const ours = new Set(components.map(({ node }) => node));
  // A node of another system can't take part, and is no failure.
  return nodes.filter(
    (node) => ours.has(node.metadata.name) || (node.status?.nodeInfo?.operatingSystem ?? "linux") === "linux",
  );
}

async function factsOf(cluster: Cluster, world: World, node: ApiNode): Promise<NodeFacts> {
  const { name } = node.metadata;
  const on = (component: Component["component"]): Component[] =>
    world.components.filter((one) => one.component === component && one.node === name);
  const [agents, daemons] = [on("agent"), on("cni")];
  const agent = agents.find(({ ready }) => ready) ?? agents[0];
  const daemon = daemons.find(({ ready }) => ready) ?? daemons[0];
  const [dump, daemonReady] = await Promise.all([
    heard(agent, "agent", (one) => configDump(agentOf(cluster, one))),
    heard(daemon, "node daemon", (one) => readinessOf(cluster, one)),
  ]);
  return {
    node,
    agents,
    daemons,
    dump,
    daemonReady,
    pods: world.pods.filter(({ spec }) => spec.nodeName === name),
    capture: world.captureFacts,
    nowMs: Date.now(),
  };
}

function readinessOf(cluster: Cluster, { namespace, pod }: Component): Promise<PodAnswer> {
  return getFromPod(cluster, { namespace, pod, port: healthPort }, "/readyz");
}

async function heard<T>(
  component: Component | undefined,
  what: string,
  ask: (component: Component) => Promise<T>,
): Promise<Heard<T>> {
  if (component === undefined)
    return { kind: "silent", why: `there is no ${what} to ask`, nextStep: "See the check of its readiness." };
  try {
    return { kind: "answer", answer: await ask(component) };
  } catch (thrown) {
    if (!(thrown instanceof Failure)) throw thrown;
    return { kind: "silent", why: thrown.message.replace(/\.$/, ""), nextStep: thrown.nextStep };
  }
}

/** Of the node daemon (deploy/chart/templates/cni/daemonset.yaml). */
const healthPort = 8000;
/** Nodes asked at the same time. */
const atOnce = 8;
