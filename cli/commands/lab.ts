/** `ambientctl lab …`: into and around the mesh in a box. */
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { Command } from "commander";
import { messageOf } from "../../core/base/errors.ts";
import { execInPod, listLabs } from "../../lab/attach.ts";
import type { LabStatus } from "../../lab/status.ts";
import { chooseLab, type ChosenLab } from "../clients/lab.ts";
import { exitCodes } from "../exit-codes.ts";
import { formatOf, globalsOf } from "../global-options.ts";
import { Failure } from "../render/failure.ts";
import { print } from "../render/output.ts";
import { labelCommand, manifestsOf } from "./lab-label.ts";

export function labCommand(): Command {
  const lab = new Command("lab")
    .description("work with the mesh in a box that npm start runs")
    .enablePositionalOptions();
  for (const command of [
    execCommand(),
    statusCommand(),
    logsCommand(),
    applyCommand(),
    deleteCommand(),
    labelCommand(),
    listCommand(),
  ]) {
    lab.addCommand(command.exitOverride());
  }
  return lab;
}

function execCommand(): Command {
  return new Command("exec")
    .description("run a command in a pod: ambientctl lab exec NS/POD -- CMD")
    .argument("<pod>", "namespace/name")
    .argument("<command...>", "the command and its arguments, after --")
    .passThroughOptions()
    .action(async (pod: string, words: string[], _options: object, command: Command) => {
      const lab = chooseLab(command);
      // What follows the pod is passed through untouched, and the two dashes with it.
      const argv = words[0] === "--" ? words.slice(1) : words;
      if (!/^[^/]+\/[^/]+$/.test(pod)) throw await notAPod(lab, pod);
      const child = await within(lab, "pods", () => execInPod(lab.pid, pod, argv, { stdio: "inherit" }));
      // The command gets the terminal's signals itself; we only pass on how it ended.
      for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => child.kill(signal));
      process.exitCode = await new Promise<number>((resolve) => {
        child.on("error", () => resolve(exitCodes.unusable));
        child.on("close", (code, signal) => resolve(code ?? (signal === null ? exitCodes.failed : 128)));
      });
    });
}

function statusCommand(): Command {
  return new Command("status")
    .description("list the lab's pods and what is wrong with its manifests")
    .action(async (_options: object, command: Command) => {
      const { pods, problems } = await chooseLab(command).client.request<LabStatus>("GET", "/status");
      const { namespace } = globalsOf(command);
      const shown = pods.filter(({ pod }) => namespace === undefined || pod.startsWith(`${namespace}/`));
      print(formatOf(command), podColumns, shown);
      for (const problem of problems) process.stderr.write(`${problem}\n`);
    });
}

function logsCommand(): Command {
  return new Command("log")
    .description("show what a process of the lab wrote: control, node1.agent, node1.cni, node1.pod.shop.server-1 …")
    .argument("<process>")
    .option("-f, --follow", "go on as it writes", false)
    .action(async (name: string, options: { follow: boolean }, command: Command) => {
      const lab = chooseLab(command);
      const log = await within(lab, "processes", () =>
        lab.client.open("GET", `/log/${encodeURIComponent(name)}?follow=${options.follow ? 1 : 0}`),
      );
      for await (const chunk of log) process.stdout.write(chunk as Buffer);
    });
}

function applyCommand(): Command {
  return new Command("apply")
    .description("put a manifest into the lab, or replace the one of that name")
    .requiredOption("-f, --file <file>", "YAML or JSON; - is standard input")
    .action(async (options: { file: string }, command: Command) => {
      const lab = chooseLab(command);
      const name = options.file === "-" ? "standard-input.yaml" : basename(options.file);
      await within(lab, "manifests", () =>
        lab.client.request("PUT", `/manifests/${encodeURIComponent(name)}`, text(options.file)),
      );
      process.stdout.write(`${name} applied\n`);
    });
}

function deleteCommand(): Command {
  return new Command("delete")
    .description("take a manifest out of the lab again")
    .requiredOption("-f, --file <file>", "as it was applied")
    .action(async (options: { file: string }, command: Command) => {
      const lab = chooseLab(command);
      await within(lab, "manifests", () =>
        lab.client.request("DELETE", `/manifests/${encodeURIComponent(basename(options.file))}`),
      );
      process.stdout.write(`${basename(options.file)} deleted\n`);
    });
}

function listCommand(): Command {
  return new Command("list")
    .description("list the labs that run on this machine")
    .action((_options: object, command: Command) => print(formatOf(command), labColumns, listLabs()));
}

/** What the lab refuses is an answer for a person, not a stack; what there is instead is named. */
async function within<T>(lab: ChosenLab, asked: Asked, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (thrown) {
    throw new Failure(
      `The lab refuses: ${messageOf(thrown)}.`,
      `It has ${(await whatThereIs(lab, asked)).join(", ")}.`,
    );
  }
}

type Asked = "pods" | "processes" | "manifests";

async function whatThereIs(lab: ChosenLab, asked: Asked): Promise<string[]> {
  if (asked === "manifests") return manifestsOf(lab.pid).map(({ file }) => file);
  const { pods, processes } = await lab.client.request<LabStatus>("GET", "/status");
  return asked === "pods" ? pods.map(({ pod }) => pod) : processes.map(({ name }) => name);
}

/** A namespace, or a pod without its namespace, where `namespace/name` is needed. */
async function notAPod(lab: ChosenLab, word: string): Promise<Failure> {
  const pods = await whatThereIs(lab, "pods");
  const within = pods.filter((pod) => pod.startsWith(`${word}/`));
  const named = pods.filter((pod) => pod.endsWith(`/${word}`));
  if (within.length > 0) {
    return new Failure(`${word} is a namespace, and a command runs in a pod.`, `Its pods are ${within.join(", ")}.`);
  }
  const what = named.length > 0 ? `${word} lacks its namespace.` : `${word} is no pod of the lab.`;
  return new Failure(what, `Write NAMESPACE/NAME: ${(named.length > 0 ? named : pods).join(", ")}.`);
}

function text(file: string): string {
  try {
    return readFileSync(file === "-" ? 0 : file, "utf8");
  } catch {
    throw new Failure(`${file} can't be read.`, "Name a file of manifests, or - for standard input.");
  }
}

type PodRow = LabStatus["pods"][number];

const podColumns = [
  { heading: "pod", cell: (row: PodRow) => row.pod },
  { heading: "node", cell: (row: PodRow) => row.node },
  { heading: "addresses", cell: (row: PodRow) => row.addresses.join(",") },
  { heading: "stage", cell: (row: PodRow) => row.stage },
  { heading: "ready", cell: (row: PodRow) => String(row.ready) },
  { heading: "restarts", cell: (row: PodRow) => String(row.restarts) },
];

const labColumns = [
  { heading: "lab", cell: (row: { name: string; pid: number }) => row.name },
  { heading: "pid", cell: (row: { name: string; pid: number }) => String(row.pid) },
];
