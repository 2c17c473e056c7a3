/** `ambientctl lab label`: as `kubectl label` on the lab's objects. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { changeLabel, type LabelChange, type ManifestText } from "../../lab/edit-manifest.ts";
import { chooseLab, labOption } from "../clients/lab.ts";
import { Failure } from "../render/failure.ts";

export function labelCommand(): Command {
  return new Command("label")
    .description("set or remove a label: ambientctl lab label namespace shop istio.io/dataplane-mode=ambient")
    .argument("<kind>", "namespace, pod, service …")
    .argument("<name>")
    .argument("<label>", "key=value, or key- to remove it")
    .option("-n, --namespace <name>", "of an object that has one", "default")
    .addOption(labOption())
    .action(async (kind: string, name: string, label: string, options: { namespace: string }, command: Command) => {
      const lab = chooseLab(command);
      const change = { kind, name, ...scope(kind, options.namespace), ...parseLabel(label) };
      const changed = changeLabel(manifestsOf(lab.pid), change);
      if (changed === undefined) {
        throw new Failure(`The lab's manifests declare no ${kind} ${name}.`, "Namespaced objects need -n NAMESPACE.");
      }
      await lab.client.request("PUT", `/manifests/${encodeURIComponent(changed.file)}`, changed.text);
      process.stdout.write(`${kind}/${name} ${change.value === undefined ? "unlabelled" : "labelled"}\n`);
    });
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
function manifestsOf(pid: number): ManifestText[] {
  const folder = `/proc/${pid}/root/run/lab/cluster/manifests`;
  return readdirSync(folder)
    .filter((file) => !file.startsWith("."))
    .map((file) => ({ file, text: readFileSync(join(folder, file), "utf8") }));
}
