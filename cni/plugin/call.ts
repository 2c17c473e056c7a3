/** What a container runtime asks by its environment variables: CNI spec, section 2 "Execution protocol". */
import { CniSpecError } from "../../core/protocol/cni/errors.ts";

export type PluginCall =
  /** Nothing is asked: somebody has started the plugin by hand. */
  { readonly verb: "none" } | { readonly verb: "VERSION" } | { readonly verb: "GC" | "STATUS" } | ContainerCall;

/** A call about one interface in one container. */
export interface ContainerCall {
  readonly verb: "ADD" | "CHECK" | "DEL";
  readonly containerId: string;
  /** Path of the container's network namespace; DEL comes without one when it has gone. */
  readonly netns: string;
  readonly ifname: string;
  /** CNI_ARGS as it stands. */
  readonly args: string;
  /** The runtime means it when CNI_NETNS is the plugin's own namespace. */
  readonly netnsOverride: boolean;
}

export type Environment = Readonly<Record<string, string | undefined>>;

export function parseCall(env: Environment): PluginCall | CniSpecError {
  const of = (variable: string): string => env[variable] ?? "";
  const verb = of("CNI_COMMAND");
  if (verb === "") return { verb: "none" };
  if (verb === "VERSION") return { verb };
  if (!isVerb(verb)) return bad("CNI_COMMAND", `says ${verb.slice(0, 64)}, which is no verb of the CNI spec`);
  const missing = required[verb].filter((variable) => of(variable) === "");
  if (missing.length > 0) return bad(missing.join(", "), missing.length === 1 ? "is missing" : "are missing");
  if (verb === "GC" || verb === "STATUS") return { verb };
  const containerId = of("CNI_CONTAINERID");
  const ifname = of("CNI_IFNAME");
  if (!idPattern.test(containerId)) return bad("CNI_CONTAINERID", "has characters that aren't allowed");
  if (!isInterfaceName(ifname)) return bad("CNI_IFNAME", "is no name of a network interface");
  const netnsOverride = ["1", "TRUE"].includes(of("CNI_NETNS_OVERRIDE").toUpperCase());
  return { verb, containerId, netns: of("CNI_NETNS"), ifname, args: of("CNI_ARGS"), netnsOverride };
}

type Verb = keyof typeof required;

function isVerb(verb: string): verb is Verb {
  return Object.hasOwn(required, verb);
}

function bad(variable: string, problem: string): CniSpecError {
  return new CniSpecError({ code: "cni-spec.bad-environment", variable, problem });
}

/** Linux takes 15 bytes, and neither a slash, a colon nor white space. */
function isInterfaceName(name: string): boolean {
  return Buffer.byteLength(name) <= 15 && name !== "." && name !== ".." && !/[/:\s]/.test(name);
}

const idPattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

const required = {
  ADD: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
  CHECK: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
  DEL: ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
  GC: ["CNI_PATH"],
  STATUS: ["CNI_PATH"],
} as const;
