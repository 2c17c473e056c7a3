/**
 * A large mesh comes to an agent: how long from the first byte of it to the acknowledgement, which the agent sends when all its threads route by
 * it, and how much more memory the process then has. The agent is whole, as it is
 * shipped, in a network namespace of its own, with no pods.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../core/base/errors.ts";
import { createNetworkNamespace, inNamespace } from "../../core/linux/namespace.ts";
import { setUp } from "../../core/linux/netlink/links.ts";
import { compiledPrograms } from "../../lab/compiled.ts";
import { checkoutRoot, childEnvironment } from "../../lab/programs.ts";
import { residentBytes } from "../measure/processes.ts";
import type { LoneScenario, NotMeasured, Values } from "../scenarios/scenario.ts";
import { scratchFolder } from "../scratch.ts";
import { PlaneClient } from "./plane-client.ts";
import { planeFiles, planeProgram, type PlaneFiles } from "./plane-files.ts";
import { meshPush } from "./pushes.ts";

export function stateLoad(workers = 2): LoneScenario {
  return { kind: "alone", name: "state-load", measure: () => measure(workers) };
}

async function measure(workers: number): Promise<Values | NotMeasured> {
  let netns: number;
  try {
    netns = createNetworkNamespace();
  } catch (error) {
    return { notMeasured: `an agent with a network of its own needs root (${messageOf(error)})` };
  }
  const scratch = scratchFolder("bench-state-");
  const folder = scratch.path;
  const children: ChildProcess[] = [];
  const start = (argv: readonly string[], env: Readonly<Record<string, string>>): ChildProcess => {
    const child = inNamespace(netns, () =>
      spawn("setpriv", ["--pdeathsig", "KILL", "--", process.execPath, ...argv], {
        cwd: checkoutRoot,
        env: childEnvironment(env),
        stdio: "ignore",
      }),
    );
    children.push(child);
    return child;
  };
  try {
    const failure = await setUp("lo", { netns });
    if (failure !== undefined) throw failure;
    const files = planeFiles(folder, ["127.0.0.1"], Date.now());
    start([planeProgram, "--listen", `127.0.0.1:${port}`, ...files.flags], {});
    const plane = await PlaneClient.connect(files.socket, folder);
    try {
      await plane.load("mesh", meshPush("a"));
      const program = join(await compiledPrograms(), "bin/ambientd.js");
      const agent = start([program, "agent"], agentEnvironment(files, folder, workers));
      await plane.agentsOf([node]);
      const before = await settledBytes(agent);
      const seconds = await plane.push("mesh", node);
      const after = await settledBytes(agent);
      return { "state.load": seconds, "state.load-memory": (after - before) / workers / 1e6 };
    } finally {
      plane.close();
    }
  } finally {
    await Promise.all(children.map(ended));
    closeSync(netns);
    scratch.remove();
  }
}

function agentEnvironment(files: PlaneFiles, folder: string, workers: number): Record<string, string> {
  const token = join(folder, "token");
  writeFileSync(token, "nobody checks it");
  const address = `https://127.0.0.1:${port}`;
  return {
    XDS_ADDRESS: address,
    CA_ADDRESS: address,
    XDS_ROOT_CA: files.root,
    CA_ROOT_CA: files.root,
    AUTH_TOKEN: token,
    INPOD_UDS: join(folder, "nobody.sock"),
    NODE_NAME: node,
    ZTUNNEL_WORKER_THREADS: String(workers),
  };
}

/** Resident memory once it has had time to collect what it needs no more. */
async function settledBytes({ pid }: ChildProcess): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, settleMs));
  if (pid === undefined) throw new Error("the agent does not run");
  return residentBytes([pid]);
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const exit = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await exit;
}

const node = "node1";
const port = 15_012;
const settleMs = 3_000;
