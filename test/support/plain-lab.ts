/** A lab by itself, without the end-to-end tests' clients: small scripts in pods, written where they are used. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startLab, type LabHandle, type LabOptions } from "../../lab/start.ts";
import type { LabStatus } from "../../lab/status.ts";
import { until } from "./until.ts";

/** Starts a lab with these manifests (YAML) in force. The lab has its own copy: the folder is gone when this resolves. */
export async function labWith(manifests: string, options: Omit<LabOptions, "manifests"> = {}): Promise<LabHandle> {
  const folder = mkdtempSync(join(tmpdir(), "lab-"));
  writeFileSync(join(folder, "test.yaml"), manifests);
  try {
    return await startLab({ ...options, manifests: folder });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command in a pod to its end. */
export async function run(lab: LabHandle, pod: string, command: readonly string[]): Promise<Ran> {
  const child = await lab.exec(pod, command, { stdio: ["ignore", "pipe", "pipe"] });
  const text = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const)
    child[name]?.setEncoding("utf8").on("data", (chunk: string) => (text[name] += chunk));
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, ...text };
}

/** Runs a script with the lab's own Node in a pod; what it prints. @throws with its complaint where it fails. */
export async function runScript(lab: LabHandle, pod: string, script: string): Promise<string> {
  const { code, stdout, stderr } = await run(lab, pod, ["node", "-e", script]);
  if (code !== 0) throw new Error(`exit ${code}: ${stderr || stdout}`);
  return stdout;
}

/** The body of a GET from inside a pod. */
export function get(lab: LabHandle, pod: string, url: string): Promise<string> {
  const script = `require("http").get(${JSON.stringify(url)}, { agent: false }, (r) => { r.pipe(process.stdout);
    if (r.statusCode !== 200) process.exitCode = 1; }).on("error", (e) => { console.error(e.code ?? e.message); process.exit(1); })`;
  return runScript(lab, pod, script);
}

/** Waits until what the lab says of itself satisfies `holds`. */
export async function untilStatus(lab: LabHandle, what: string, holds: (status: LabStatus) => boolean): Promise<void> {
  await until(what, 20_000, async () => holds(await lab.request<LabStatus>("GET", "/status")));
}
