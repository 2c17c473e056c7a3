/** What the CNI plugin asks while a container runtime makes a pod: enrol it now, and say when it is done. The contract is istio's
 *  (`POST /cmdadd`, 200 with an empty body, 400 for a body that can't be read, 500 with a reason in plain text); the plugin waits 5 s. */
import type { Clock } from "../../core/base/clock.ts";
import { describe, type ErrorData } from "../../core/base/errors.ts";
import type { HttpAnswer, HttpRequest } from "./unix-http.ts";

/** The part of the plugin's event that is acted on. */
export interface PluginEvent {
  readonly podName: string;
  readonly podNamespace: string;
}

/** Where one pod stands: `excluded` is a fine answer too, the plugin then lets the pod pass. */
export type PluginView =
  | { readonly kind: "unknown" }
  | { readonly kind: "excluded" }
  | { readonly kind: "enrolled" }
  | { readonly kind: "waiting"; readonly reason?: ErrorData };

export interface PluginModules {
  readonly viewOf: (event: PluginEvent) => PluginView;
  /** The runtime has made the pod's namespace: whoever waits for it need wait no more. */
  readonly arrived: (event: PluginEvent) => void;
  /** Settles when something about pods has changed. */
  readonly changed: () => Promise<void>;
  readonly clock: Clock;
}

export function pluginHandler(modules: PluginModules): (request: HttpRequest) => Promise<HttpAnswer> {
  return async (request) => {
    if (request.path !== "/cmdadd") return { status: 404, body: "there is only /cmdadd here\n" };
    const text = await request.text();
    const event = text === undefined ? undefined : parsePluginEvent(text);
    if (event === undefined) return { status: 400, body: "a JSON object with PodName and PodNamespace is expected\n" };
    modules.arrived(event);
    return whenEnrolled(event, modules, request.signal);
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
  const { PodName: podName, PodNamespace: podNamespace } = parsed as Record<string, unknown>;
  if (typeof podName !== "string" || podName === "") return undefined;
  return typeof podNamespace === "string" && podNamespace !== "" ? { podName, podNamespace } : undefined;
}

async function whenEnrolled(event: PluginEvent, modules: PluginModules, gone: AbortSignal): Promise<HttpAnswer> {
  const deadline = Promise.withResolvers<"late">();
  const cancel = modules.clock.after(pluginPatienceMs, () => deadline.resolve("late"));
  gone.addEventListener("abort", () => deadline.resolve("late"));
  try {
    for (;;) {
      const view = modules.viewOf(event);
      if (view.kind === "enrolled" || view.kind === "excluded") return { status: 200 };
      const outcome = await Promise.race([modules.changed(), deadline.promise]);
      if (outcome === "late") return { status: 500, body: `${sentenceOf(event, modules.viewOf(event))}\n` };
    }
  } finally {
    cancel();
  }
}

function sentenceOf({ podName, podNamespace }: PluginEvent, view: PluginView): string {
  const pod = `${podNamespace}/${podName}`;
  if (view.kind === "unknown") return `pod ${pod} is not known to this node's daemon`;
  if (view.kind !== "waiting" || view.reason === undefined) return `pod ${pod} is not enrolled yet`;
  return `pod ${pod} is not enrolled yet: ${describe(view.reason)}`;
}

/** Answer before the plugin's own 5 s are over, so that it has a reason to show. */
const pluginPatienceMs = 4500;
