/** How the lab starts the other rooms: through bin/, as an operator would. */
import { dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Families, NodePlan } from "./addresses.ts";
import { routerAddresses } from "./addresses.ts";
import type { ProgramSpec } from "./node-messages.ts";

/** The checkout (or the installed package) that the lab runs from: working folder of every process in it. */
export const checkoutRoot = dirname(dirname(fileURLToPath(import.meta.url)));

/** A program of this room as a path: TypeScript in a checkout, JavaScript in a release. @param name without extension. */
export function labProgram(name: string): string {
  return fileURLToPath(new URL(`${name}${extname(import.meta.url)}`, import.meta.url));
}

/** The control plane's name in the lab, and where it listens. */
export const controlName = "istiod.istio-system.svc";
export const controlPort = 15012;

/** Environment of a process in the lab: what it needs of ours, and its own. */
export function childEnvironment(own: Readonly<Record<string, string>>): Record<string, string> {
  const inherited = Object.entries(process.env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && passed.some((name) => entry[0].startsWith(name)),
  );
  return { ...Object.fromEntries(inherited), PATH: searchPath(), HOME: "/", ...own };
}

/** @param folder of programs that somebody has compiled. */
export function controlProgram(
  families: Families,
  certTtlSeconds: number | undefined,
  env: Env,
  folder?: string,
): ProgramSpec {
  const listen = families === "4" ? "0.0.0.0" : "[::]";
  const advertised = [controlName, ...routerAddresses(families)].join(",");
  const flags = {
    manifests: "/run/lab/cluster/manifests",
    status: "/run/lab/cluster/status",
    data: "/run/lab/control",
    listen: `${listen}:${controlPort}`,
    "publish-root": "/run/lab/cluster/root-cert.pem",
    tokens: "/run/lab/tokens",
    advertise: advertised,
    ...(certTtlSeconds === undefined ? {} : { "cert-ttl": String(certTtlSeconds) }),
  };
  return { name: "control", argv: ambientd("control", flags, folder), env: { ...stripped(folder), ...env } };
}

export function cniProgram(plan: NodePlan, env: Env, folder?: string): ProgramSpec {
  const flags = {
    node: plan.name,
    manifests: "/run/cluster/manifests",
    status: "/run/cluster/status",
    "run-dir": "/run/istio-cni",
    zds: "/run/ztunnel/ztunnel.sock",
    "netns-dir": "/run/netns",
  };
  return {
    name: `${plan.name}.cni`,
    argv: ambientd("cni daemon", flags, folder),
    env: { ...stripped(folder), ...env },
  };
}

export function agentProgram(
  plan: NodePlan,
  workers: number,
  certTtlSeconds: number | undefined,
  env: Env,
  folder?: string,
): ProgramSpec {
  const control = `https://${controlName}:${controlPort}`;
  const root = "/run/secrets/istio/root-cert.pem";
  return {
    name: `${plan.name}.agent`,
    argv: ambientd("agent", {}, folder),
    env: {
      ...stripped(folder),
      XDS_ADDRESS: control,
      CA_ADDRESS: control,
      XDS_ROOT_CA: root,
      CA_ROOT_CA: root,
      AUTH_TOKEN: "/run/secrets/tokens/istio-token",
      INPOD_UDS: "/run/ztunnel/ztunnel.sock",
      AMBIENTD_LISTENER_STORE: "/run/ztunnel/listeners.sock",
      NODE_NAME: plan.name,
      CLUSTER_ID: "Kubernetes",
      POD_NAME: `ztunnel-${plan.name}`,
      POD_NAMESPACE: "istio-system",
      SERVICE_ACCOUNT: "ztunnel",
      INSTANCE_IP: plan.nodeEnd[0]?.address ?? "",
      ZTUNNEL_WORKER_THREADS: String(workers),
      AMBIENTD_ADMIN_SOCKET: "/run/ambientd/admin.sock",
      ...(certTtlSeconds === undefined ? {} : { SECRET_TTL: `${certTtlSeconds}s` }),
      ...env,
    },
  };
}

export type Env = Readonly<Record<string, string>>;

function ambientd(room: string, flags: Readonly<Record<string, string>>, folder?: string): string[] {
  const own = join(checkoutRoot, `bin/ambientd${extname(import.meta.url)}`);
  return [
    process.execPath,
    folder === undefined ? own : join(folder, "bin/ambientd.js"),
    ...room.split(" "),
    ...Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]),
  ];
}

/** Whoever strips types keeps what is left: half of the processor time that a program takes to start, and 25 MB of an agent. */
function stripped(folder: string | undefined): Env {
  const isSource = folder === undefined && import.meta.url.endsWith(".ts");
  return isSource ? { NODE_COMPILE_CACHE: join(checkoutRoot, "node_modules/.cache/ambientd/stripped") } : {};
}

function searchPath(): string {
  return [join(checkoutRoot, "node_modules/.bin"), process.env["PATH"] ?? "/usr/bin:/bin"].join(":");
}

/** Settings of the person who runs the lab that its processes share. */
const passed = ["LANG", "LC_", "LOG_LEVEL", "TERM", "TZ"];
