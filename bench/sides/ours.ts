/** Our agents with everything on: policies on the server, metrics, an access log, the client's own address at the server. */
import type { LabHandle } from "../../lab/start.ts";
import type { LabStatus } from "../../lab/status.ts";
import { hostPids } from "../host-processes.ts";
import type { AbsentSide, RunningSide } from "../side.ts";
import { passEcho } from "./echo.ts";
import type { Stage } from "./stage.ts";

export async function startOurs({ client, server, ports }: Stage, lab: LabHandle): Promise<RunningSide | AbsentSide> {
  // Its namespace is STRICT: what passes has been in a tunnel.
  const problem = await passEcho(client, server, ports[0] ?? 8080);
  if (problem !== undefined) return { name: "ours", absent: problem };
  return {
    name: "ours",
    client,
    server,
    address: server.address,
    async proxies() {
      const status = await lab.request<LabStatus>("GET", "/status");
      const pids = hostPids(lab.pid);
      return { atClient: agentOf("node1", status, pids), atServer: agentOf("node2", status, pids) };
    },
    stop: () => Promise.resolve(), // with its lab
  };
}

/** @throws Error where it doesn't run: a measurement must not take a missing agent for a cheap one. */
function agentOf(node: string, { processes }: LabStatus, pids: ReadonlyMap<number, number>): number[] {
  const state = processes.find(({ name }) => name === `${node}.agent`)?.state;
  const pid = state?.phase === "running" ? pids.get(state.pid) : undefined;
  if (pid === undefined) throw new Error(`the agent of ${node} does not run`);
  return [pid];
}
