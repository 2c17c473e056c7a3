/** What several scenarios do at a place. */
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { filePath, nginxArguments } from "../load/nginx.ts";
import type { Tool, ToolName } from "../load/tools.ts";
import type { ProxyCost } from "../measure/proxy-cost.ts";
import { serverPorts } from "../ports.ts";
import type { Place, Values } from "./scenario.ts";

/** @throws Error where a scenario uses a tool that it didn't ask for: our own bug. */
export function toolOf(place: Pick<Place, "tools">, name: ToolName): Tool {
  const tool = place.tools.get(name);
  if (tool === undefined) throw new Error(`this scenario has not asked for ${name}`);
  return tool;
}

/** nginx in the server's pod. @returns the URL of its file of 1 KiB. */
export async function serveFile(place: Place, port: number = serverPorts.http): Promise<string> {
  const { server, address } = place.side;
  const folder = `${place.folder}/nginx-${place.side.name}-${port}`;
  mkdirSync(folder, { recursive: true });
  const command = [...toolOf(place, "nginx").argv, ...nginxArguments(folder, port)];
  await place.servers.ensure(server, port, command);
  return `http://${address}:${port}${filePath}`;
}

/** A command line for one of the clients in load/. */
export function clientCommand(name: string, place: Place, ...rest: readonly (string | number)[]): string[] {
  return clientOf(serverPorts.http, name, place, ...rest);
}

/** The same for another of the server's ports. */
export function clientOf(port: number, name: string, place: Place, ...rest: readonly (string | number)[]): string[] {
  const program = fileURLToPath(new URL(`../load/${name}.ts`, import.meta.url));
  // Room for what a load leaves behind: a collection of garbage would be a latency of this process.
  const node = [process.execPath, "--min-semi-space-size=64", "--max-semi-space-size=64", program];
  return [...node, place.side.address, String(port), filePath, ...rest.map(String)];
}

/** CPU of both ends per so many things, in microseconds; nothing where there are no proxies. */
export function microsecondsEach(figure: string, cost: ProxyCost, things: number): Values {
  return cost === undefined ? {} : { [figure]: ((cost.atClient + cost.atServer) / things) * 1e6 };
}

export function parsedOrThrow<T>(result: T | string): T {
  if (typeof result === "string") throw new Error(result);
  return result;
}
