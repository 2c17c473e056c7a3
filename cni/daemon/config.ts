/** The flags of `ambientd cni daemon`: a folder of manifests as in the lab, or a cluster. */
import { existsSync, readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { messageOf } from "../../core/base/errors.ts";
import { FlagError } from "../../core/base/flag-error.ts";
import { parseSelectors } from "./selector-text.ts";
import { defaultSelectionRules, defaultSelectors, type EnrolmentSelector, type SelectionRules } from "./selectors.ts";

/** What the daemon itself needs to know, wherever its objects come from. */
export interface DaemonConfig {
  /** Name of the Node whose pods are looked after. */
  readonly node: string;
  /** Holds pluginevent.sock and daemon.sock. */
  readonly runDir: string;
  /** Path of the SEQPACKET socket that agents connect to; listeners.sock is beside it. */
  readonly zds: string;
  /** One network namespace a pod, named by pod UID; of no use where `host` is given. */
  readonly netnsDir: string;
  /** A node whose namespaces nobody names by UID, seen from within a container. */
  readonly host?: {
    /** The node's /proc as mounted here. */
    readonly proc: string;
    /** The node's /var/run/netns as mounted here. */
    readonly netnsDir: string;
  };
  /** What pods get that don't say. */
  readonly dnsCapture: boolean;
  readonly selection: SelectionRules;
}

export interface FolderConfig {
  readonly source: "folder";
  readonly daemon: DaemonConfig;
  readonly manifests: string;
  readonly status: string;
}

export interface ClusterConfig {
  readonly source: "kubernetes";
  readonly daemon: DaemonConfig;
  /** Where the daemon itself runs, as which pod of which DaemonSet. */
  readonly namespace: string;
  readonly daemonset: string;
  readonly podName: string;
  /** The node's CNI directories as mounted here, and the executable to put there; undefined: somebody else installs the plugin. */
  readonly plugin:
    | {
        readonly binDir: string;
        readonly confDir: string;
        readonly file: string;
        readonly confName: string | undefined;
      }
    | undefined;
  readonly health: { readonly host: string; readonly port: number } | undefined;
  /** For a daemon outside a cluster: tests. */
  readonly kubeconfig?: string;
}

export const usage = `usage: ambientd cni daemon --node NAME --manifests DIR --status DIR --netns-dir DIR PLACES [OPTIONS]
       ambientd cni daemon --source kubernetes --node NAME --namespace NAMESPACE --pod-name NAME [--daemonset NAME]
         [--host-proc DIR] [--host-netns-dir DIR] [--cni-bin-dir DIR --cni-conf-dir DIR [--plugin FILE] [--cni-conf-name NAME]]
         [--health [HOST]:PORT] [--kubeconfig FILE] PLACES [OPTIONS]
PLACES:  --run-dir DIR --zds SOCKET
OPTIONS: --dns-capture  --exclude-namespaces A,B  --enablement-selectors YAML|FILE
`;

export function parseFlags(argv: readonly string[]): FolderConfig | ClusterConfig | FlagError {
  let given: Given;
  try {
    given = parseArgs({ args: withListsAttached(argv), options: flags, strict: true, allowPositionals: false }).values;
  } catch (thrown) {
    return bad(messageOf(thrown).split(". ")[0] ?? "", "see ambientd cni daemon --help");
  }
  const source = given["source"] ?? "folder";
  if (source !== "folder" && source !== "kubernetes")
    return bad(`--source ${String(source)} is none`, "say folder or kubernetes");
  const missing = required[source].find((flag) => typeof given[flag] !== "string" || given[flag] === "");
  if (missing !== undefined) return bad(`--${missing} is missing`, `add --${missing} ${meaning[missing]}`);
  const other = source === "folder" ? onlyKubernetes : onlyFolder;
  const superfluous = other.find((flag) => given[flag] !== undefined);
  if (superfluous !== undefined)
    return bad(`--${superfluous} has no meaning with --source ${source}`, "leave it out, or choose the other source");
  return source === "folder" ? folderConfig(given) : clusterConfig(given);
}

/** A YAML list begins with a dash, which would make it a flag. */
function withListsAttached(argv: readonly string[]): string[] {
  const at = argv.indexOf("--enablement-selectors");
  const value = argv[at + 1];
  return at < 0 || value === undefined
    ? [...argv]
    : [...argv.slice(0, at), `${argv[at]}=${value}`, ...argv.slice(at + 2)];
}

function folderConfig(given: Given): FolderConfig | FlagError {
  const daemon = daemonConfig(given);
  if (daemon instanceof FlagError) return daemon;
  return { source: "folder", daemon, manifests: text(given, "manifests"), status: text(given, "status") };
}

function clusterConfig(given: Given): ClusterConfig | FlagError {
  const namespace = text(given, "namespace");
  const daemon = daemonConfig(given, namespace);
  if (daemon instanceof FlagError) return daemon;
  const health = healthAddress(given["health"]);
  if (health instanceof FlagError) return health;
  const plugin = pluginConfig(given);
  if (plugin instanceof FlagError) return plugin;
  const kubeconfig = given["kubeconfig"];
  return {
    source: "kubernetes",
    daemon: {
      ...daemon,
      host: {
        proc: text(given, "host-proc", "/host/proc"),
        netnsDir: text(given, "host-netns-dir", daemon.netnsDir || "/host/var/run/netns"),
      },
    },
    namespace,
    daemonset: text(given, "daemonset", "ambientd-cni"),
    podName: text(given, "pod-name"),
    plugin,
    health,
    ...(typeof kubeconfig === "string" ? { kubeconfig } : {}),
  };
}

/** @param own where the daemon's own pods are. */
function daemonConfig(given: Given, ...own: readonly string[]): DaemonConfig | FlagError {
  const selectors = selectorsOf(given["enablement-selectors"]);
  if (selectors instanceof FlagError) return selectors;
  const named = given["exclude-namespaces"];
  const list =
    typeof named === "string"
      ? named.split(",").map((name) => name.trim())
      : [...defaultSelectionRules.excludeNamespaces, ...own];
  return {
    node: text(given, "node"),
    runDir: text(given, "run-dir"),
    zds: text(given, "zds"),
    netnsDir: text(given, "netns-dir"),
    dnsCapture: given["dns-capture"] === true,
    selection: { selectors, excludeNamespaces: new Set(list.filter((name) => name !== "")) },
  };
}

/** The text itself, or a file that holds it. */
function selectorsOf(value: Value): readonly EnrolmentSelector[] | FlagError {
  if (typeof value !== "string" || value === "") return defaultSelectors;
  let yaml = value;
  try {
    if (existsSync(value)) yaml = readFileSync(value, "utf8");
  } catch (thrown) {
    return bad(
      `--enablement-selectors can't be read (${messageOf(thrown)})`,
      "name a readable file, or give the YAML itself",
    );
  }
  const selectors = parseSelectors(yaml);
  if (typeof selectors !== "string") return selectors;
  return bad(
    `--enablement-selectors: ${selectors}`,
    "give a list of {podSelector, namespaceSelector}, each a LabelSelector",
  );
}

function healthAddress(value: Value): ClusterConfig["health"] | FlagError {
  if (typeof value !== "string") return undefined;
  const parts = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(value);
  const port = Number(parts?.[3]);
  if (parts === null || port > 65_535) return bad(`--health ${value} is no address`, "say :8000 or 127.0.0.1:8000");
  return { host: parts[1] ?? (parts[2] === "" ? "::" : (parts[2] ?? "::")), port };
}

/** Both folders or none: half an installer would leave a conflist that names a plugin which isn't there. */
function pluginConfig(given: Given): ClusterConfig["plugin"] | FlagError {
  const missing = pluginFlags.filter((flag) => given[flag] === undefined);
  if (missing.length === pluginFlags.length) return undefined;
  const [first] = missing;
  if (first !== undefined)
    return bad(`--${first} is missing`, "give both folders, or neither and no plugin is installed");
  return {
    binDir: text(given, "cni-bin-dir"),
    confDir: text(given, "cni-conf-dir"),
    file: text(given, "plugin", "/opt/cni/bin/ambient-cni"),
    confName: text(given, "cni-conf-name") || undefined,
  };
}

type Value = string | boolean | undefined;
type Given = Readonly<Record<string, Value>>;
type RequiredFlag = keyof typeof meaning;

function text(given: Given, flag: string, otherwise = ""): string {
  const value = given[flag];
  return typeof value === "string" ? value : otherwise;
}

function bad(problem: string, fix: string): FlagError {
  return new FlagError({ code: "config.bad-flag", command: "ambientd cni daemon", problem, fix });
}

const meaning = {
  node: "NAME",
  manifests: "DIR",
  status: "DIR",
  "run-dir": "DIR, e.g. /run/istio-cni",
  zds: "SOCKET, e.g. /run/ztunnel/ztunnel.sock",
  "netns-dir": "DIR, e.g. /run/netns",
  namespace: "NAMESPACE in which the daemon runs",
  "pod-name": "NAME of the daemon's own pod",
} as const;

const required: Readonly<Record<"folder" | "kubernetes", readonly RequiredFlag[]>> = {
  folder: ["node", "manifests", "status", "run-dir", "zds", "netns-dir"],
  kubernetes: ["node", "namespace", "pod-name", "run-dir", "zds"],
};
const pluginFlags = ["cni-bin-dir", "cni-conf-dir"] as const;
const onlyFolder = ["manifests", "status"] as const;
const onlyKubernetes = [
  "namespace",
  "daemonset",
  "pod-name",
  "host-proc",
  "host-netns-dir",
  "health",
  "kubeconfig",
  "plugin",
  "cni-conf-name",
  ...pluginFlags,
] as const;

const flags = {
  source: { type: "string" },
  node: { type: "string" },
  manifests: { type: "string" },
  status: { type: "string" },
  "run-dir": { type: "string" },
  zds: { type: "string" },
  "netns-dir": { type: "string" },
  namespace: { type: "string" },
  daemonset: { type: "string" },
  "pod-name": { type: "string" },
  "host-proc": { type: "string" },
  "host-netns-dir": { type: "string" },
  "cni-bin-dir": { type: "string" },
  "cni-conf-dir": { type: "string" },
  plugin: { type: "string" },
  "cni-conf-name": { type: "string" },
  health: { type: "string" },
  kubeconfig: { type: "string" },
  "exclude-namespaces": { type: "string" },
  "enablement-selectors": { type: "string" },
  "dns-capture": { type: "boolean" },
} as const;
