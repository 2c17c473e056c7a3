/** No mesh: two pods of the same lab, and nothing between them but what carries everybody's packets. */
import type { AbsentSide, RunningSide } from "../side.ts";
import { passEcho } from "./echo.ts";
import type { Stage } from "./stage.ts";

export async function startDirect({ client, server, ports }: Stage): Promise<RunningSide | AbsentSide> {
  const problem = await passEcho(client, server, ports[0] ?? 8080);
  if (problem !== undefined) return { name: "direct", absent: problem };
  return {
    name: "direct",
    client,
    server,
    address: server.address,
    proxies: () => Promise.resolve({ atClient: [], atServer: [] }),
    stop: () => Promise.resolve(),
  };
}
