/** The lab a command means: the one named with --lab, or the only one there is. */
import type { Command } from "commander";
import { connectLab, listLabs, type FoundLab } from "../../lab/attach.ts";
import type { LabClient } from "../../lab/client.ts";
import type { LabStatus } from "../../lab/status.ts";
import { globalsOf } from "../global-options.ts";
import { Failure } from "../render/failure.ts";

export interface ChosenLab extends FoundLab {
  readonly client: LabClient;
}

/** @throws Failure where there is none, or where it isn't clear which is meant. */
export function chooseLab(command: Command): ChosenLab {
  const found = pickLab(listLabs(), globalsOf(command).lab);
  return { ...found, client: connectLab(found.pid) };
}

/** @param name as --lab has it. @throws Failure where no lab, or more than one, is meant. */
export function pickLab(labs: readonly FoundLab[], name: string | undefined): FoundLab {
  const names = labs.map((lab) => lab.name).join(", ");
  const meant = labs.filter((lab) => name === undefined || lab.name === name);
  const [found] = meant;
  if (found !== undefined && meant.length === 1) return found;
  if (found !== undefined && name === undefined) {
    throw new Failure(`Several labs run: ${names}.`, "Say which one with --lab NAME.");
  }
  if (found !== undefined) {
    throw new Failure(`${meant.length} labs are named ${found.name}.`, "Stop all but one of them.");
  }
  if (name === undefined) {
    throw new Failure("No lab of yours runs on this machine.", "Start one in another terminal: npm start");
  }
  throw labs.length === 0
    ? new Failure(
        `No lab of yours is named ${name}: none runs on this machine.`,
        "Start one in another terminal: npm start",
      )
    : new Failure(`No lab of yours is named ${name}.`, `Running here: ${names}. Say --lab with one of these names.`);
}

/** @returns the names of the nodes asked for, all of them by default. @throws Failure for a node that isn't there. */
export async function chooseNodes(lab: ChosenLab, wanted: string | undefined): Promise<string[]> {
  const { nodes } = await lab.client.request<LabStatus>("GET", "/status");
  const names = nodes.map((node) => node.name);
  if (wanted === undefined) return names;
  if (names.includes(wanted)) return [wanted];
  throw new Failure(`The lab has no node ${wanted}.`, `It has ${names.join(", ")}.`);
}
