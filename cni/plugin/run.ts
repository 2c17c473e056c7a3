/** One call of the plugin, from its environment to what it prints. The world comes as an argument. */
import { parseArguments, type PodArguments } from "../../core/protocol/cni/arguments.ts";
import { parseConfig, unchangedResult, type NetworkConfig } from "../../core/protocol/cni/config.ts";
import { cniErrorCode, CniSpecError, renderError, reportOf, type ErrorReport } from "../../core/protocol/cni/errors.ts";
import { renderPluginEvent } from "../../core/protocol/cni/plugin-event.ts";
import { atLeast, renderVersions, supportedVersions, type CniVersion } from "../../core/protocol/cni/versions.ts";
import type { DaemonAnswer, Question } from "./ask-daemon.ts";
import { parseCall, type ContainerCall, type Environment } from "./call.ts";
import { refusalReport, statusReport } from "./refusal.ts";
import { parseSettings, type LogLevel, type PluginSettings } from "./settings.ts";

export interface World {
  readonly env: Environment;
  /** All of standard input, or why it can't be had. */
  readonly readConfig: () => Promise<string | ErrorReport>;
  readonly ask: (question: Question) => Promise<DaemonAnswer>;
  /** Whether the path leads to the network namespace that the plugin itself runs in. */
  readonly isOwnNetns: (path: string) => boolean;
  /** Best effort, never an error. */
  readonly note: (settings: PluginSettings, note: Note) => void;
}

/** A line of the plugin's log. */
export interface Note {
  readonly level: LogLevel;
  readonly message: string;
  readonly [field: string]: unknown;
}

export interface Outcome {
  readonly stdout: string;
  readonly stderr?: string;
  readonly exitCode: 0 | 1;
}

/** The checks come in the order of the spec's own library: environment, JSON, the network's name, versions, then the verb. */
export async function runPlugin(world: World): Promise<Outcome> {
  const call = parseCall(world.env);
  if (call instanceof CniSpecError) return failed(reportOf(call));
  if (call.verb === "none") return { stdout: "", stderr: about, exitCode: 0 };
  if (call.verb === "VERSION") return { stdout: renderVersions(), exitCode: 0 };
  const text = await world.readConfig();
  if (typeof text !== "string") return failed(text);
  const config = parseConfig(text);
  if (config instanceof CniSpecError) return failed(reportOf(config));
  const needed = firstVersionWith[call.verb];
  if (!atLeast(config.cniVersion, needed)) return failed(reportOf(tooOld(config, call.verb, needed)));
  const settings = parseSettings(config.fields);
  if (settings instanceof CniSpecError) return failed(reportOf(settings), config);
  switch (call.verb) {
    case "ADD":
      return add({ call, config, settings }, world);
    case "CHECK":
      return check({ call, config, settings }, world);
    case "DEL":
      // Nothing was made that would outlive the pod: rules and sockets go with its namespace, the daemon sees the pod go.
      return silence;
    case "GC":
      return silence;
    case "STATUS":
      return status(config, settings, world);
  }
}

interface Job {
  readonly call: ContainerCall;
  readonly config: NetworkConfig;
  readonly settings: PluginSettings;
}

async function add(job: Job, world: World): Promise<Outcome> {
  const { call, config } = job;
  if (!call.netnsOverride && world.isOwnNetns(call.netns)) return failed(ownNetns(call), config);
  const refusal = await askAboutPod(job, "/cmdadd", world);
  if (refusal !== undefined) return failed(refusal, config);
  return { stdout: `${JSON.stringify(unchangedResult(config), undefined, 4)}\n`, exitCode: 0 };
}

async function check(job: Job, world: World): Promise<Outcome> {
  const refusal = await askAboutPod(job, "/cmdcheck", world);
  return refusal === undefined ? silence : failed(refusal, job.config);
}

/** Undefined where the pod may pass. */
async function askAboutPod(
  { call, config, settings }: Job,
  path: "/cmdadd" | "/cmdcheck",
  world: World,
): Promise<ErrorReport | undefined> {
  const pod = parseArguments(call.args);
  if (pod instanceof CniSpecError) return reportOf(pod);
  const named = { verb: call.verb, pod: podText(pod), sandbox: call.containerId };
  const passing = passesUnasked(pod, settings);
  if (passing !== undefined) {
    world.note(settings, { level: "debug", message: `passes: ${passing}`, ...named });
    return undefined;
  }
  const ips = config.prevResult?.result.ips;
  const { podName, podNamespace, podUid } = pod;
  const event = { netns: call.netns, podName, podNamespace, podUid, ...(ips && { ips }) };
  const { runDir } = settings;
  const answer = await world.ask({ runDir, path, body: renderPluginEvent(event), patienceMs });
  if (answer.kind === "yes" || (answer.kind === "not-asked-here" && path === "/cmdcheck")) {
    world.note(settings, { level: "info", message: "the node daemon agrees", ...named });
    return undefined;
  }
  const report = refusalReport(`pod ${podText(pod)}`, refusing(answer));
  world.note(settings, { level: "error", message: report.msg, ...named, code: report.code });
  return report;
}

async function status(config: NetworkConfig, settings: PluginSettings, world: World): Promise<Outcome> {
  if (!settings.statusReportsDaemon) return silence;
  const answer = await world.ask({ runDir: settings.runDir, path: "/cmdstatus", body: "", patienceMs });
  // A daemon that answers is there. If it lacks an agent, saying so would keep kubelet from starting that very agent.
  if (answer.kind === "yes" || answer.kind === "not-asked-here" || answer.kind === "no") return silence;
  const report = statusReport(answer);
  world.note(settings, { level: "warn", message: report.msg, verb: "STATUS", code: report.code });
  return failed(report, config);
}

/** Why nobody needs to be asked: a node that has just started must be able to start the daemon itself. */
function passesUnasked({ podName, podNamespace }: PodArguments, settings: PluginSettings): string | undefined {
  if (podName === "" || podNamespace === "") return "not a pod of Kubernetes";
  return settings.excludeNamespaces.includes(podNamespace) ? "its namespace is excluded" : undefined;
}

/** ADD is what a daemon must know: a 404 for it is a refusal like any other. */
function refusing(answer: Exclude<DaemonAnswer, { kind: "yes" }>): Parameters<typeof refusalReport>[1] {
  return answer.kind === "not-asked-here" ? { kind: "no", status: 404, reason: "" } : answer;
}

function podText({ podName, podNamespace }: PodArguments): string {
  return `${podNamespace}/${podName}`;
}

function failed(report: ErrorReport, config?: NetworkConfig): Outcome {
  return { stdout: renderError(report, config?.cniVersion), exitCode: 1 };
}

function tooOld({ cniVersion }: NetworkConfig, verb: string, needed: CniVersion): CniSpecError {
  const spoken = `${verb} came with ${needed}`;
  return new CniSpecError({ code: "cni-spec.incompatible-version", asked: cniVersion, spoken });
}

function ownNetns({ netns }: ContainerCall): ErrorReport {
  return {
    code: cniErrorCode.invalidNetns,
    msg: `CNI_NETNS ${netns} is the network namespace of the node itself`,
    details: "a pod with hostNetwork must not be given to a CNI plugin (CNI_NETNS_OVERRIDE=1 if this is meant)",
  };
}

const firstVersionWith = {
  ADD: "0.1.0",
  DEL: "0.1.0",
  CHECK: "0.4.0",
  GC: "1.1.0",
  STATUS: "1.1.0",
} as const satisfies Record<string, CniVersion>;

const silence: Outcome = { stdout: "", exitCode: 0 };

/** Five seconds are the contract; the daemon answers, with a reason, after four and a half. */
const patienceMs = 5000;

const about = `ambient-cni: the CNI plugin of ambientd, started by a container runtime as the last of a chain
CNI protocol versions supported: ${supportedVersions.join(", ")}
`;
