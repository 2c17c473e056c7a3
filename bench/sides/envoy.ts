/** An HBONE pair of stock Envoys (the wheel of PyPI), one in each pod, behind the redirection that ours has. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../core/base/errors.ts";
import { Unavailable } from "../../test/cluster/unavailable.ts";
import { envoyProgram } from "../../test/peers/parts.ts";
import type { AbsentSide, RunningSide } from "../side.ts";
import { certificatesFor } from "./authority.ts";
import { clientBootstrap, serverBootstrap } from "./envoy-config.ts";
import { runningPair } from "./pair.ts";
import { ProxyProcess } from "./proxy-process.ts";
import { outboundPort, redirect, tunnelPort } from "./redirect.ts";
import type { Stage, StagePod } from "./stage.ts";

export async function startEnvoy(stage: Stage): Promise<RunningSide | AbsentSide> {
  const absent = (reason: string): AbsentSide => ({ name: "envoy", absent: reason });
  const { client, server, workers, folder } = stage;
  if (client.netns === undefined || server.netns === undefined)
    return absent("Envoy needs root: it keeps clients' addresses.");
  const program = await envoyProgram();
  if (program instanceof Unavailable) return absent(program.missing);
  try {
    const certificates = certificatesFor("envoy", folder, Date.now());
    const start = (pod: StagePod, name: string, bootstrap: object, port: number): Promise<ProxyProcess | string> => {
      const file = join(folder, `${name}.json`);
      writeFileSync(file, JSON.stringify(bootstrap), { mode: 0o600 });
      const argv = ["--config-path", file, "--concurrency", String(workers), "--disable-hot-restart"];
      return ProxyProcess.start(`Envoy at the ${name}`, pod, [program, ...argv, "--log-level", "warning"], [port]);
    };
    await redirect(client.netns, {});
    await redirect(server.netns, {});
    const peer = { address: server.address, uri: certificates.server.uri };
    const atServer = await start(
      server,
      "server",
      serverBootstrap(certificates.server, certificates.client),
      tunnelPort,
    );
    const atClient = await start(client, "client", clientBootstrap(certificates.client, peer), outboundPort);
    return await runningPair("envoy", stage, atClient, atServer);
  } catch (thrown) {
    return absent(`Envoy could not be put into its pods: ${messageOf(thrown)}.`);
  }
}
