/** Runs the plugin as a container runtime does: variables, a configuration on standard input, an answer on standard output. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

export interface PluginAnswer {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly elapsedMs: number;
}

/** Node and the source: quick to start from, and the same program as the executable. */
export const fromSource: readonly string[] = [
  process.execPath,
  fileURLToPath(new URL("../../../bin/ambient-cni.ts", import.meta.url)),
];

export interface PluginInput {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Undefined leaves standard input open, without a word. */
  readonly stdin: string | undefined;
}

export async function callPlugin(
  [program = "", ...argv]: readonly string[],
  { env, stdin }: PluginInput,
): Promise<PluginAnswer> {
  const started = performance.now();
  const child = spawn(program, argv, { env: { ...env }, stdio: "pipe" });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk) => (stdout += String(chunk)));
  child.stderr.on("data", (chunk) => (stderr += String(chunk)));
  child.stdin.on("error", () => undefined);
  if (stdin !== undefined) child.stdin.end(stdin);
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.on("error", reject);
  child.on("close", resolve);
  const code = await promise;
  child.stdin.destroy();
  return { code, stdout, stderr, elapsedMs: performance.now() - started };
}

export function environment(verb: string, pod = "shop/cart"): Record<string, string> {
  const [namespace = "", name = ""] = pod.split("/");
  return {
    CNI_COMMAND: verb,
    CNI_CONTAINERID: "c1",
    CNI_NETNS: "/var/run/netns/cni-1",
    CNI_IFNAME: "eth0",
    CNI_PATH: "/opt/cni/bin",
    CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${name};K8S_POD_INFRA_CONTAINER_ID=c1`,
  };
}
