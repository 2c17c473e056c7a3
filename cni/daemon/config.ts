/** The flags of `ambientd cni daemon`. */
import { parseArgs } from "node:util";
import { messageOf, TypedError } from "../../core/base/errors.ts";

export interface DaemonConfig {
  /** Name of the Node whose pods are looked after. */
  readonly node: string;
  readonly manifests: string;
  readonly status: string;
  /** Holds pluginevent.sock and daemon.sock. */
  readonly runDir: string;
  /** Path of the SEQPACKET socket that agents connect to. */
  readonly zds: string;
  /** One network namespace a pod, named by pod UID. */
  readonly netnsDir: string;
  /** What pods get that don't say. */
  readonly dnsCapture: boolean;
}

/** A flag, and what to do about it. */
export class ConfigError extends TypedError<{
  readonly code: "config.bad-flag";
  readonly problem: string;
  readonly fix: string;
}> {
  /** One line for a terminal. */
  sentence(): string {
    return `ambientd cni daemon: ${this.type.problem}; ${this.type.fix}`;
  }
}

export const usage =
  "usage: ambientd cni daemon --node NAME --manifests DIR --status DIR " +
  "--run-dir DIR --zds SOCKET --netns-dir DIR [--dns-capture]\n";

export function parseFlags(argv: readonly string[]): DaemonConfig | ConfigError {
  let given: Record<string, string | boolean | undefined>;
  try {
    given = parseArgs({ args: [...argv], options: flags, strict: true, allowPositionals: false }).values;
  } catch (thrown) {
    return bad(messageOf(thrown).split(". ")[0] ?? "", "see ambientd cni daemon --help");
  }
  const missing = required.find((flag) => typeof given[flag] !== "string" || given[flag] === "");
  if (missing !== undefined) return bad(`--${missing} is missing`, `add --${missing} ${meaning[missing]}`);
  const text = (flag: RequiredFlag): string => String(given[flag]);
  return {
    node: text("node"),
    manifests: text("manifests"),
    status: text("status"),
    runDir: text("run-dir"),
    zds: text("zds"),
    netnsDir: text("netns-dir"),
    dnsCapture: given["dns-capture"] === true,
  };
}

type RequiredFlag = (typeof required)[number];

function bad(problem: string, fix: string): ConfigError {
  return new ConfigError({ code: "config.bad-flag", problem, fix });
}

const meaning: Readonly<Record<RequiredFlag, string>> = {
  node: "NAME",
  manifests: "DIR",
  status: "DIR",
  "run-dir": "DIR, e.g. /run/istio-cni",
  zds: "SOCKET, e.g. /run/ztunnel/ztunnel.sock",
  "netns-dir": "DIR, e.g. /run/netns",
};

const required = ["node", "manifests", "status", "run-dir", "zds", "netns-dir"] as const;

const flags = {
  node: { type: "string" },
  manifests: { type: "string" },
  status: { type: "string" },
  "run-dir": { type: "string" },
  zds: { type: "string" },
  "netns-dir": { type: "string" },
  "dns-capture": { type: "boolean" },
} as const;
