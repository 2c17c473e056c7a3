/** A lab's agents: their admin sockets lie in the lab's own /run, their logs behind its control socket. */
import { createInterface } from "node:readline";
import { getFromSocket, type Agent, type LogOptions } from "./agent.ts";
import { chooseNodes, type ChosenLab } from "./lab.ts";

/** @param node only this one. @throws Failure for a node that isn't there. */
export async function labAgents(lab: ChosenLab, node: string | undefined): Promise<Agent[]> {
  const nodes = await chooseNodes(lab, node);
  return nodes.map((name) => ({
    name: `${name}.agent`,
    node: name,
    isEnding: false,
    get: (path) =>
      getFromSocket(
        adminSocket(lab, name),
        path,
        `See its log (ambientctl lab log ${name}.agent), or start the lab again.`,
      ),
    lines: (options) => linesOf(lab, name, options),
  }));
}

async function* linesOf(lab: ChosenLab, node: string, { follow, tail }: LogOptions): AsyncIterable<string> {
  const log = await lab.client.open("GET", `/log/${node}.agent?follow=${follow ? 1 : 0}`);
  const lines = createInterface({ input: log });
  if (tail === undefined || follow) return yield* lines;
  const last: string[] = [];
  for await (const line of lines) {
    last.push(line);
    if (last.length > tail) last.shift();
  }
  yield* last;
}

/** Where a node's agent answers questions. */
function adminSocket(lab: ChosenLab, node: string): string {
  return `/proc/${lab.pid}/root/run/lab/nodes/${node}/ambientd/admin.sock`;
}
