/** What the CNI plugin asks while a container runtime makes a pod: enrol it now, and say when it is done. The contract is istio's
 *  (`POST /cmdadd`, 200 with an empty body, 400 for a body that can't be read, 500 with a reason in plain text; the plugin waits 5 s),
 *  with two questions of our own: `/cmdcheck`, does that pod stand as it should; `/cmdstatus`, could a pod be enrolled now. */
import type { Clock } from "../../core/base/clock.ts";
import { describe, type ErrorData } from "../../core/base/errors.ts";
import { canonicalIp } from "../../core/base/ip.ts";
import type { HttpAnswer, HttpRequest } from "./unix-http.ts";

/** The parts of the plugin's event that are acted on. */
export interface PluginEvent {
  readonly podName: string;
  readonly podNamespace: string;
  /** As the runtime says; absent where it doesn't. */
  readonly podUid?: string;
  /** Path of the pod's network namespace on the node; empty where it wasn't said. */
  readonly netns: string;
  /** Of the pod, in canonical text: its status has none yet. */
  readonly addresses: readonly string[];
}

/** Where one pod stands: `excluded` is a fine answer too, the plugin then lets the pod pass. */
export type PluginView =
  | { readonly kind: "unknown"; readonly reason?: ErrorData }
  | { readonly kind: "excluded" }
  | { readonly kind: "enrolled" }
  | { readonly kind: "waiting"; readonly reason?: ErrorData };

/** One event that is being answered. Its making is also the news that the pod's namespace is there. */
export interface PluginCase {
  view(): PluginView;
  /** The asker has its answer, or is gone. */
  close(): void;
}

export interface PluginModules {
  readonly open: (event: PluginEvent) => PluginCase;
  /** Settles when something about pods has changed. */
  readonly changed: () => Promise<void>;
  /** Why no pod could be enrolled now; undefined when one could. */
  readonly impediment: () => ErrorData | undefined;
  readonly clock: Clock;
}

export function pluginHandler(modules: PluginModules): (request: HttpRequest) => Promise<HttpAnswer> {
  return async (request) => {
    if (request.path === "/cmdstatus") return statusAnswer(modules.impediment());
    const patienceMs = patience.get(request.path);
    if (patienceMs === undefined)
      return { status: 404, body: `there is only ${[...patience.keys()].join(", ")} here\n` };
    const text = await request.text();
    const event = text === undefined ? undefined : parsePluginEvent(text);
    if (event === undefined) return { status: 400, body: "a JSON object with PodName and PodNamespace is expected\n" };
    return whenEnrolled(event, modules, patienceMs, request.signal);
  };
}

/** Undefined for whatever isn't such an event. */
export function parsePluginEvent(text: string): PluginEvent | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof parsed !== "object" || parsed === null) return undefined;
  const {
    PodName: podName,
    PodNamespace: podNamespace,
    PodUID: podUid,
    Netns: netns,
    IPs,
  } = parsed as Record<string, unknown>;
  if (typeof podName !== "string" || podName === "") return undefined;
  if (typeof podNamespace !== "string" || podNamespace === "") return undefined;
  return {
    podName,
    podNamespace,
    ...(typeof podUid === "string" && podUid !== "" ? { podUid } : {}),
    netns: typeof netns === "string" ? netns : "",
    addresses: Array.isArray(IPs) ? IPs.flatMap(addressOf) : [],
  };
}

/** `{Address: {IP}}`; one that can't be read is left out. */
function addressOf(item: unknown): string[] {
  const { Address } = (item ?? {}) as { Address?: unknown };
  const { IP } = (Address ?? {}) as { IP?: unknown };
  const address = typeof IP === "string" ? canonicalIp(IP) : undefined;
  return address === undefined ? [] : [address];
}

function statusAnswer(impediment: ErrorData | undefined): HttpAnswer {
  return impediment === undefined ? { status: 200 } : { status: 503, body: `${sentenceFor(impediment)}\n` };
}

async function whenEnrolled(
  event: PluginEvent,
  modules: PluginModules,
  patienceMs: number,
  gone: AbortSignal,
): Promise<HttpAnswer> {
  const deadline = Promise.withResolvers<"late">();
  const cancel = modules.clock.after(patienceMs, () => deadline.resolve("late"));
  gone.addEventListener("abort", () => deadline.resolve("late"));
  const asked = modules.open(event);
  try {
    for (;;) {
      const changed = modules.changed();
      const view = asked.view();
      if (view.kind === "enrolled" || view.kind === "excluded") return { status: 200 };
      const outcome = await Promise.race([changed, deadline.promise]);
      if (outcome === "late") return { status: 500, body: `${sentenceOf(event, asked.view())}\n` };
    }
  } finally {
    cancel();
    asked.close();
  }
}

function sentenceOf({ podName, podNamespace }: PluginEvent, view: PluginView): string {
  const pod = `${podNamespace}/${podName}`;
  const { reason } = { reason: undefined, ...view };
  if (view.kind === "unknown")
    return reason === undefined
      ? `pod ${pod} is not known to this node's daemon`
      : `pod ${pod} is not known: ${sentenceFor(reason)}`;
  if (reason === undefined) return `pod ${pod} is not enrolled yet`;
  return `pod ${pod} is not enrolled yet: ${sentenceFor(reason)}`;
}

/** What a person can do comes first; the data behind it after. */
function sentenceFor(reason: ErrorData): string {
  const next = nextSteps[reason.code];
  return next === undefined ? describe(reason) : `${next} (${describe(reason)})`;
}

const nextSteps: Readonly<Record<string, string>> = {
  "cni.no-agent": "no ambientd-agent is connected on this node; see that its pod runs",
};

/** Answered before the plugin's own 5 s are over, so that it has a reason to show. */
const patience: ReadonlyMap<string, number> = new Map([
  ["/cmdadd", 4500],
  ["/cmdcheck", 1000],
]);
