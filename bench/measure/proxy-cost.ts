/** What a side's proxies use while a load runs. */
import type { RunningSide } from "../side.ts";
import { cpuSeconds } from "./processes.ts";

/** CPU seconds, user and system, of all proxies at that end; undefined where the side has no proxies. */
export type ProxyCost = { readonly atClient: number; readonly atServer: number } | undefined;

export async function costOf<T>(
  side: Pick<RunningSide, "proxies">,
  load: () => Promise<T>,
): Promise<{ readonly result: T; readonly cost: ProxyCost }> {
  const { atClient, atServer } = await side.proxies();
  if (atClient.length + atServer.length === 0) return { result: await load(), cost: undefined };
  const before = { atClient: cpuSeconds(atClient), atServer: cpuSeconds(atServer) };
  const result = await load();
  return {
    result,
    cost: {
      atClient: cpuSeconds(atClient) - before.atClient,
      atServer: cpuSeconds(atServer) - before.atServer,
    },
  };
}
