/** Helm, found on PATH or named: the only program the command line starts. */
import { spawn } from "node:child_process";
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import type { GlobalOptions } from "../global-options.ts";
import { Failure } from "../render/failure.ts";
import { packageFolder } from "../version.ts";

export interface Helm {
  /** Absolute. */
  readonly program: string;
  /** `v4.3.1` */
  readonly version: string;
}

/** @param named as --helm has it. @returns a Failure where there is none that can be used. */
export async function findHelm(named: string | undefined, path: string | undefined): Promise<Helm | Failure> {
  const program = named === undefined ? onPath("helm", path) : resolve(named);
  if (program === undefined || !isExecutable(program)) {
    return new Failure(
      named === undefined ? "Helm isn't on PATH." : `${named} is no program that can be run.`,
      `Install Helm 3.14 or newer (https://helm.sh/docs/intro/install), or say where it is: --helm FILE. The chart is ${shippedChart}.`,
    );
  }
  const { code, output } = await run(program, ["version", "--template", "{{.Version}}"]);
  const version = /v(\d+)\.(\d+)\S*/.exec(output);
  if (code !== 0 || version === null) {
    return new Failure(`${program} doesn't say which Helm it is.`, "Name another with --helm FILE.");
  }
  const [text, major, minor] = version;
  if (Number(major) < 3 || (Number(major) === 3 && Number(minor) < 14)) {
    return new Failure(
      `${program} is Helm ${text}, which is too old.`,
      "Install Helm 3.14 or newer, or name another with --helm FILE.",
    );
  }
  return { program, version: text };
}

/** Where the chart lies that came with this program. */
export const shippedChart: string = join(packageFolder, "deploy/chart");

/** @returns a Failure where that is no chart on disk; a reference to a repository is Helm's to judge. */
export function chartProblem(chart: string): Failure | undefined {
  if (/^(oci|https?):\/\//.test(chart) || existsSync(join(chart, "Chart.yaml")) || /\.tgz$/.test(chart))
    return undefined;
  return new Failure(
    `${chart} is no chart: it has no Chart.yaml.`,
    "Name a folder, an archive (.tgz) or oci://…: --chart REF.",
  );
}

/** The flags that make Helm talk to the cluster we talk to. @throws Failure for those it doesn't know. */
export function helmCluster({ kubeconfig, context, cluster, user }: GlobalOptions): string[] {
  const other = cluster === undefined ? (user === undefined ? undefined : "--user") : "--cluster";
  if (other !== undefined) {
    throw new Failure(
      `Helm knows no ${other}.`,
      "Make it a context (kubectl config set-context NAME --cluster C --user U) and choose that: --context NAME.",
    );
  }
  return [
    ...(kubeconfig === undefined ? [] : ["--kubeconfig", kubeconfig]),
    ...(context === undefined ? [] : ["--kube-context", context]),
  ];
}

/** Whether there is anything to uninstall or upgrade. */
export async function knowsRelease({ program }: Helm, release: string, where: readonly string[]): Promise<boolean> {
  return (await run(program, ["status", release, ...where])).code === 0;
}

/** Runs it in the foreground: its words are the user's to read. @returns its exit code. */
export function runHelm({ program }: Helm, argv: readonly string[], toStandardError: boolean): Promise<number> {
  const child = spawn(program, argv, { stdio: ["inherit", toStandardError ? 2 : "inherit", "inherit"] });
  // The terminal interrupts Helm itself; we wait for how it ends.
  const ignore = (): void => undefined;
  process.on("SIGINT", ignore);
  return new Promise<number>((done) => {
    child.once("error", () => done(127));
    child.once("close", (code) => done(code ?? 1));
  }).finally(() => process.off("SIGINT", ignore));
}

function onPath(name: string, path = ""): string | undefined {
  return path
    .split(delimiter)
    .filter((folder) => folder !== "")
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

function run(program: string, argv: readonly string[]): Promise<{ code: number; output: string }> {
  const child = spawn(program, argv, { stdio: ["ignore", "pipe", "ignore"], timeout: 20_000 });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  return new Promise((done) => {
    child.once("error", () => done({ code: 127, output }));
    child.once("close", (code) => done({ code: code ?? 1, output }));
  });
}
