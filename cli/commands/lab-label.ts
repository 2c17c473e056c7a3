/** `ambientctl lab label`: as `kubectl label` on the lab's objects. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { parseAllDocuments } from "yaml";
import { changeLabel, type LabelChange, type ManifestText } from "../../lab/edit-manifest.ts";
import { chooseLab } from "../clients/lab.ts";
import { globalsOf } from "../global-options.ts";
import { Failure } from "../render/failure.ts";

export function labelCommand(): Command {
  return new Command("label")
    .description("set or remove a label: ambientctl lab label namespace shop istio.io/dataplane-mode=ambient")
    .argument("<kind>", "namespace, pod, service …")
    .argument("<name>")
    .argument("<label>", "key=value, or key- to remove it")
    .action(async (kind: string, name: string, label: string, _options: object, command: Command) => {
      const lab = chooseLab(command);
      const change = { kind, name, ...scope(kind, globalsOf(command).namespace ?? "default"), ...parseLabel(label) };
      const manifests = manifestsOf(lab.pid);
      const changed = changeLabel(manifests, change);
      if (changed === undefined) throw undeclared(manifests, change);
      await lab.client.request("PUT", `/manifests/${encodeURIComponent(changed.file)}`, changed.text);
      process.stdout.write(`${kind}/${name} ${change.value === undefined ? "unlabelled" : "labelled"}\n`);
    });
}

/** Names what there is of that kind instead. */
export function undeclared(manifests: readonly ManifestText[], { kind, namespace, name }: LabelChange): Failure {
  const objects = manifests.flatMap(({ text }) =>
    parseAllDocuments(text).map((document) => document.toJS() as unknown),
  );
  const alike = objects.flatMap((object) => {
    const { kind: itsKind, metadata } = (object ?? {}) as {
      kind?: unknown;
      metadata?: { name?: string; namespace?: string };
    };
    if (String(itsKind).toLowerCase() !== kind.toLowerCase() || metadata?.name === undefined) return [];
    return [{ name: metadata.name, namespace: metadata.namespace ?? "default" }];
  });
  if (namespace === undefined) {
    const names = alike.map((object) => object.name).join(", ");
    return new Failure(
      `The lab's manifests declare no ${kind} ${name}.`,
      names === ""
        ? "They declare none at all; write the kind in the singular: namespace, pod, service."
        : `They declare ${names}.`,
    );
  }
  const elsewhere = alike.filter((object) => object.name === name);
  return new Failure(
    `The lab's manifests declare no ${kind} ${name} in namespace ${namespace}.`,
    elsewhere.length > 0
      ? `There is one in ${elsewhere.map((object) => object.namespace).join(", ")}: say -n ${elsewhere[0]?.namespace ?? ""}.`
      : alike.length > 0
        ? `They declare ${alike.map((object) => `${object.namespace}/${object.name}`).join(", ")}.`
        : "They declare none at all; write the kind in the singular: pod, service.",
  );
}

function parseLabel(label: string): Pick<LabelChange, "key" | "value"> {
  const [, key = "", value] = /^([^=]+)=(.*)$/.exec(label) ?? [];
  if (value !== undefined && labelKey.test(key) && labelValue.test(value)) return { key, value };
  const removed = label.endsWith("-") ? label.slice(0, -1) : "";
  if (labelKey.test(removed)) return { key: removed };
  throw new Failure(`"${label}" is no label.`, "Write key=value to set one, key- to remove it.");
}

/** As Kubernetes has them: an optional DNS prefix, then a name; up to 63 characters each of name and value. */
const labelKey = /^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?$/;
const labelValue = /^([A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?)?$/;

function scope(kind: string, namespace: string): { namespace?: string } {
  return ["namespace", "node"].includes(kind.toLowerCase()) ? {} : { namespace };
}

/** The lab's own copies; its folder is reached through the first process of the lab. */
export function manifestsOf(pid: number): ManifestText[] {
  const folder = `/proc/${pid}/root/run/lab/cluster/manifests`;
  return readdirSync(folder)
    .filter((file) => !file.startsWith("."))
    .map((file) => ({ file, text: readFileSync(join(folder, file), "utf8") }));
}
