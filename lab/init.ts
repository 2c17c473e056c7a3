/**
 * PID 1 of the lab, first process of its user, network, mount and PID namespaces: when it ends, the kernel ends everything
 * in them. Reads its configuration from the lifeline (descriptor 3), builds the lab, answers on its control socket.
 * Started by chain.ts, as `init.ts --lab=NAME`.
 */
import { Socket } from "node:net";
import { createInterface } from "node:readline";
import { systemClock } from "../core/base/clock.ts";
import type { LabConfig } from "./config.ts";
import { listenForControl } from "./control-socket.ts";
import { EventLog } from "./events.ts";
import { Lab } from "./lab.ts";
import { LinkControl } from "./link-control.ts";
import { LogCap } from "./log-cap.ts";
import { probeKernel } from "./probe-kernel.ts";
import { Reaper } from "./reaper.ts";
import { Refused, refusalOf } from "./refusals.ts";
import { buildWorld } from "./world.ts";

const events = new EventLog(systemClock);
const reaper = new Reaper();
const lifeline = new Socket({ fd: 3 });
let lab: Lab | undefined;
let isEnding = false;

reaper.start();
// Whoever started us is gone, or let go of us: so do we, with everything.
lifeline.on("close", () => process.exit(1));
lifeline.on("error", () => undefined); // close follows
lifeline.write('{"kind":"hello"}\n');
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => void end());
process.on("SIGHUP", () => undefined);
process.on("uncaughtException", (error) => refuse(error));

const lines = createInterface({ input: lifeline });
lines.once("line", (line) => {
  lines.on("line", () => void end()); // all that is ever said later
  events.follow((event) => lifeline.write(`${JSON.stringify(event)}\n`));
  build(JSON.parse(line) as LabConfig).catch(refuse);
});

async function build(config: LabConfig): Promise<void> {
  await events.step("kernel", () => probeKernel(config.families));
  await events.step("file system", () => buildWorld(config.nodes));
  new LogCap(systemClock).start();
  lab = new Lab(config, { clock: systemClock, events, reaper });
  const links = new LinkControl(lab, (child) => reaper.track(child));
  await events.step("control socket", () => listenForControl(lab as Lab, links, events));
  await lab.build();
  events.add({ kind: "built" });
}

async function end(): Promise<void> {
  if (isEnding) return;
  isEnding = true;
  // What does not end in time is ended by the kernel.
  setTimeout(() => process.exit(0), longestEndMs);
  await lab?.close();
  process.exit(0);
}

function refuse(thrown: unknown): void {
  const sentence = thrown instanceof Refused ? thrown.message : refusalOf(thrown);
  lifeline.write(`${JSON.stringify({ kind: "refused", sentence })}\n`, () => process.exit(1));
}

const longestEndMs = 8_000;
