/** The lab a command means: the one named with --lab, or the only one there is. */
import { Option, type Command } from "commander";
import { connectLab, listLabs, type FoundLab } from "../../lab/attach.ts";
import type { LabClient } from "../../lab/client.ts";
import type { LabStatus } from "../../lab/status.ts";
import { Failure } from "../render/failure.ts";

export interface ChosenLab extends FoundLab {
  readonly client: LabClient;
}

export function labOption(): Option {
  return new Option("--lab <name>", "which lab, where several run");
}

/** @throws Failure where there is none, or where it isn't clear which is meant. */
export function chooseLab(command: Command): ChosenLab {
  const { lab: name } = command.optsWithGlobals<{ lab?: string }>();
  const labs = listLabs().filter((lab) => name === undefined || lab.name === name);
  const [found] = labs;
  if (found === undefined) {
    throw new Failure(
      name === undefined ? "No lab of yours runs on this machine." : `No lab of yours is named ${name}.`,
      "Start one in another terminal: npm start",
    );
  }
  if (labs.length > 1) {
    throw new Failure(`Several labs run: ${labs.map((lab) => lab.name).join(", ")}.`, "Say which one with --lab NAME.");
  }
  return { ...found, client: connectLab(found.pid) };
}

/** @returns the names of the nodes asked for, all of them by default. @throws Failure for a node that isn't there. */
export async function chooseNodes(lab: ChosenLab, wanted: string | undefined): Promise<string[]> {
  const { nodes } = await lab.client.request<LabStatus>("GET", "/status");
  const names = nodes.map((node) => node.name);
  if (wanted === undefined) return names;
  if (names.includes(wanted)) return [wanted];
  throw new Failure(`The lab has no node ${wanted}.`, `It has ${names.join(", ")}.`);
}

/** Where a node's agent answers questions. */
export function adminSocket(lab: ChosenLab, node: string): string {
  return `/proc/${lab.pid}/root/run/lab/nodes/${node}/ambientd/admin.sock`;
}
