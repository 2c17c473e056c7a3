/** Helm, where it can be had, and what it makes of our chart. */
import { execFile } from "node:child_process";
import { existsSync, globSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { find } from "../../scripts/peers.ts";

export const chart = join(import.meta.dirname, "../../deploy/chart");

/** Its path, or why there is none. */
export const helm: string | { readonly missing: string } = findHelm();

export interface Rendered {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec?: Spec;
  readonly rules?: readonly Rule[];
  readonly roleRef?: { readonly kind: string; readonly name: string };
  readonly subjects?: readonly { readonly name: string; readonly namespace: string }[];
  readonly automountServiceAccountToken?: boolean;
}

/** Of Deployments, DaemonSets, Jobs and PodDisruptionBudgets. */
export interface Spec {
  readonly replicas?: number;
  readonly maxUnavailable?: number;
  readonly updateStrategy?: object;
  readonly selector?: { readonly matchLabels?: Readonly<Record<string, string>> };
  readonly template?: {
    readonly metadata: {
      readonly labels: Readonly<Record<string, string>>;
      readonly annotations?: Readonly<Record<string, string>>;
    };
    readonly spec: PodSpec;
  };
}

export interface PodSpec {
  readonly serviceAccountName: string;
  readonly automountServiceAccountToken?: boolean;
  readonly priorityClassName?: string;
  readonly hostNetwork?: boolean;
  readonly hostPID?: boolean;
  readonly hostIPC?: boolean;
  readonly shareProcessNamespace?: boolean;
  readonly terminationGracePeriodSeconds?: number;
  readonly securityContext?: object;
  readonly imagePullSecrets?: readonly object[];
  readonly initContainers?: readonly Container[];
  readonly containers: readonly Container[];
  readonly volumes?: readonly Volume[];
}

export interface Container {
  readonly image: string;
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value?: string }[];
  readonly ports?: readonly { readonly containerPort: number; readonly hostPort?: number }[];
  readonly readinessProbe?: object;
  readonly livenessProbe?: object;
  readonly resources: { readonly limits?: { readonly memory?: string } };
  readonly securityContext: object;
  readonly volumeMounts?: readonly {
    readonly name: string;
    readonly mountPath: string;
    readonly readOnly?: boolean;
    readonly mountPropagation?: string;
  }[];
}

export interface Volume {
  readonly name: string;
  readonly hostPath?: { readonly path: string; readonly type: string };
  readonly [source: string]: unknown;
}

export interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

/** @param values `name=value` as --set takes them, or whole flags. */
export async function render(...values: readonly string[]): Promise<Rendered[]> {
  const { code, stdout, stderr } = await template(values);
  if (code !== 0) throw new Error(stderr);
  return parseAllDocuments(stdout)
    .map((document) => document.toJS() as Rendered | null)
    .filter((object) => object !== null);
}

/** What helm says where it should refuse; empty where it didn't. */
export async function refusal(...values: readonly string[]): Promise<string> {
  const { code, stderr } = await template(values);
  return code === 0 ? "" : stderr;
}

export async function run(...argv: readonly string[]): Promise<{ readonly code: number; readonly said: string }> {
  const { code, stdout, stderr } = await execute(argv);
  return { code, said: stdout + stderr };
}

export function one(objects: readonly Rendered[], kind: string, name: string): Rendered {
  const found = objects.filter((object) => object.kind === kind && object.metadata.name === name);
  if (found.length !== 1 || found[0] === undefined) throw new Error(`${found.length} of ${kind} ${name}`);
  return found[0];
}

export function podOf({ kind, metadata, spec }: Rendered): PodSpec {
  if (spec?.template === undefined) throw new Error(`${kind} ${metadata.name} makes no pods`);
  return spec.template.spec;
}

export function containerOf(object: Rendered): Container {
  const [container, ...others] = podOf(object).containers;
  if (container === undefined || others.length > 0) throw new Error(`${object.metadata.name} has not one container`);
  return container;
}

interface Said {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function template(values: readonly string[]): Promise<Said> {
  const settings = values.flatMap((value) => (value.startsWith("--") ? [value] : ["--set", value]));
  return execute(["template", "ambientd", chart, "-n", "ambient-system", ...settings]);
}

function execute(argv: readonly string[]): Promise<Said> {
  if (typeof helm !== "string") throw new Error(helm.missing);
  const program = helm;
  return new Promise((settle) => {
    execFile(program, [...argv], { encoding: "utf8", maxBuffer: 16 << 20 }, (error, stdout, stderr) =>
      settle({ code: error === null ? 0 : 1, stdout, stderr }),
    );
  });
}

function findHelm(): string | { readonly missing: string } {
  const cache = join(process.env["AMBIENTD_CACHE"] ?? join(homedir(), ".cache/ambientd"), "cluster");
  const built = globSync("helm-*/helm", { cwd: cache }).map((file) => join(cache, file));
  const found = [find("helm"), ...built.reverse()].find((file) => file !== undefined && existsSync(file));
  return found ?? { missing: "no helm: npm run cluster builds one, or put one on PATH" };
}
