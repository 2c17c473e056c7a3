/** CNI_ARGS: `K=V;K2=V2`, how Kubernetes tells a plugin which pod it is called for. */
import { CniSpecError } from "./errors.ts";

/** Empty strings where the runtime said nothing: then the call isn't about a pod of Kubernetes. */
export interface PodArguments {
  readonly podName: string;
  readonly podNamespace: string;
  readonly podUid: string;
  readonly sandboxId: string;
}

/** Keys that aren't known are an error unless IgnoreUnknown is set, as the spec's own library has it. The last of two equal keys wins. */
export function parseArguments(text: string): PodArguments | CniSpecError {
  const found = new Map<string, string>();
  const unknown: string[] = [];
  for (const pair of text === "" ? [] : text.split(";")) {
    const [key = "", value, ...rest] = pair.split("=");
    if (value === undefined || rest.length > 0) return bad(`holds "${pair}", which isn't one KEY=VALUE`);
    if (known.has(key)) found.set(key, value);
    else unknown.push(key);
  }
  const ignoreUnknown = booleans.get((found.get("IgnoreUnknown") ?? "false").toLowerCase());
  if (ignoreUnknown === undefined)
    return bad(`says IgnoreUnknown=${found.get("IgnoreUnknown") ?? ""}; 1 or true is meant`);
  if (unknown.length > 0 && !ignoreUnknown)
    return bad(`has keys that aren't known (${unknown.join(", ")}) and no IgnoreUnknown=1`);
  return {
    podName: found.get("K8S_POD_NAME") ?? "",
    podNamespace: found.get("K8S_POD_NAMESPACE") ?? "",
    podUid: found.get("K8S_POD_UID") ?? "",
    sandboxId: found.get("K8S_POD_INFRA_CONTAINER_ID") ?? "",
  };
}

function bad(problem: string): CniSpecError {
  return new CniSpecError({ code: "cni-spec.bad-environment", variable: "CNI_ARGS", problem });
}

const known = new Set([
  "IgnoreUnknown",
  "K8S_POD_NAME",
  "K8S_POD_NAMESPACE",
  "K8S_POD_UID",
  "K8S_POD_INFRA_CONTAINER_ID",
]);

const booleans = new Map([
  ["1", true],
  ["true", true],
  ["0", false],
  ["false", false],
]);
