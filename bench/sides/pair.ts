/** A proxy at either end, as a side of the comparison. */
import type { AbsentSide, RunningSide, SideName } from "../side.ts";
import { passEcho } from "./echo.ts";
import type { ProxyProcess } from "./proxy-process.ts";
import type { Stage } from "./stage.ts";

/** Whoever did not start, or lets nothing pass as it should, makes the side an absent one; the other end is stopped then. */
export async function runningPair(
  name: SideName,
  stage: Stage,
  atClient: ProxyProcess | string,
  atServer: ProxyProcess | string,
): Promise<RunningSide | AbsentSide> {
  const { client, server } = stage;
  const ends = [atClient, atServer].filter((end) => typeof end !== "string");
  const stop = async (): Promise<void> => {
    await Promise.all(ends.map((end) => end.stop()));
  };
  if (typeof atServer === "string" || typeof atClient === "string") {
    await stop();
    const [reason] = [atServer, atClient].filter((end) => typeof end === "string");
    return { name, absent: reason ?? "" };
  }
  const problem = await passEcho(client, server, stage.ports[0] ?? 8080);
  if (problem !== undefined) {
    const words = [atClient, atServer].map((end) => end.lastWords).join(" ");
    await stop();
    return { name, absent: `${problem} ${words}`.trim() };
  }
  return {
    name,
    client,
    server,
    address: server.address,
    async proxies() {
      return { atClient: atClient.pids(), atServer: atServer.pids() };
    },
    stop,
  };
}
