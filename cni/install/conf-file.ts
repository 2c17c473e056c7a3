/** A file of the CNI configuration directory, as a container runtime looks at it. */
import { isDeepStrictEqual } from "node:util";
import { isObject, type JsonObject } from "../../core/protocol/cni/json-reader.ts";
import { isSupported, supportedVersions } from "../../core/protocol/cni/versions.ts";
import { InstallError } from "./errors.ts";
import { withEntry, withoutType } from "./list-text.ts";

export const pluginType = "ambient-cni";

export type ConfFile =
  /** A chain: a name and at least one plugin. */
  | {
      readonly kind: "list";
      readonly name: string;
      readonly text: string;
      readonly fields: JsonObject;
      readonly plugins: readonly JsonObject[];
    }
  /** One plugin on its own. */
  | { readonly kind: "single"; readonly name: string; readonly text: string; readonly fields: JsonObject }
  /** Runtimes pass it over; it may be half-written. */
  | { readonly kind: "invalid"; readonly name: string };

export type UsableFile = Exclude<ConfFile, { readonly kind: "invalid" }>;

/** Runtimes read these and sort them by name; `.json` counts as `.conf`. */
export function isConfName(name: string): boolean {
  return /\.(conf|conflist|json)$/.test(name);
}

export function parseConfFile(name: string, text: string): ConfFile {
  const fields = parseObject(text);
  if (fields === undefined) return { kind: "invalid", name };
  if (!name.endsWith(".conflist"))
    return typeof fields["type"] === "string" && fields["type"] !== ""
      ? { kind: "single", name, text, fields }
      : { kind: "invalid", name };
  const { name: network, plugins } = fields;
  const usable = typeof network === "string" && network !== "" && Array.isArray(plugins) && plugins.length > 0;
  if (!usable || !plugins.every(isPlugin)) return { kind: "invalid", name };
  return { kind: "list", name, text, fields, plugins };
}

/** The first valid one by name, as the runtimes choose. @param forced a name that is set instead; its sibling extension will do. */
export function chooseFile(files: readonly ConfFile[], forced?: string): UsableFile | undefined {
  const usable = files.filter((file): file is UsableFile => file.kind !== "invalid");
  if (forced === undefined) return usable.sort((a, b) => byName(a.name, b.name))[0];
  const stem = forced.replace(/\.(conf|conflist|json)$/, "");
  const names = [forced, `${stem}.conflist`, `${stem}.conf`];
  return names.map((name) => usable.find((file) => file.name === name)).find((file) => file !== undefined);
}

/** Go's order of strings: by bytes. */
export function byName(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** Why the file must be left alone, or undefined. */
export function obstacleTo(file: UsableFile): InstallError | undefined {
  const refuse = (reason: string, fix: string): InstallError =>
    new InstallError({ code: "install.unchainable", file: file.name, reason, fix });
  const types = pluginsOf(file).map(({ type }) => String(type));
  const foreign = types.find((type) => otherMeshes.has(type));
  if (foreign !== undefined)
    return refuse(`${foreign} already redirects this node's pods`, `uninstall ${otherMeshes.get(foreign)} first`);
  const [first = ""] = types;
  if (first.startsWith("multus"))
    return refuse(
      "multus hands each network on to the configuration of another file",
      "set cni.confName to the file of the network that pods get by default",
    );
  const { cniVersion = "0.1.0" } = file.fields;
  if (typeof cniVersion !== "string" || !isSupported(cniVersion))
    return refuse(
      `its cniVersion ${JSON.stringify(cniVersion)} isn't known to us`,
      `use one of ${supportedVersions.join(", ")}, or a newer release of ambientd`,
    );
  return undefined;
}

/** Exactly one entry of ours, and it says what it should. Where in the chain is up to whoever came later. */
export function hasEntry(file: ConfFile, entry: JsonObject): boolean {
  if (file.kind !== "list") return false;
  const own = file.plugins.filter(({ type }) => type === pluginType);
  return own.length === 1 && isDeepStrictEqual(own[0], entry);
}

export function namesPlugin(file: ConfFile): boolean {
  return file.kind !== "invalid" && pluginsOf(file).some(({ type }) => type === pluginType);
}

/** The text of the chain with our entry as its last, whatever it was before. */
export function chainedText(file: UsableFile, entry: JsonObject): string {
  const list = file.kind === "list" ? withoutType(file.text, pluginType) : listOf(file.fields);
  return withEntry(list, entry);
}

/** A chain of one: the plugin keeps its network's name, by which IPAM plugins keep their books. */
export function listOf(single: JsonObject): string {
  const { cniVersion = "0.3.1", name = "k8s-pod-network", ...plugin } = single;
  return `${JSON.stringify({ cniVersion, name, plugins: [{ name, ...plugin }] }, undefined, 2)}\n`;
}

function pluginsOf(file: UsableFile): readonly JsonObject[] {
  return file.kind === "list" ? file.plugins : [file.fields];
}

function isPlugin(value: unknown): value is JsonObject {
  return isObject(value) && typeof value["type"] === "string" && value["type"] !== "";
}

function parseObject(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

const otherMeshes: ReadonlyMap<string, string> = new Map([
  ["istio-cni", "Istio's CNI"],
  ["linkerd-cni", "Linkerd's CNI"],
  ["kmesh-cni", "Kmesh"],
]);
