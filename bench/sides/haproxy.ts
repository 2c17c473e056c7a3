/** An mTLS pair of Debian's haproxy, one in each pod, behind the redirection that ours has: a connection is a tunnel of its own. */
import { chownSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../core/base/errors.ts";
import { Unavailable } from "../../test/cluster/unavailable.ts";
import type { AbsentSide, RunningSide } from "../side.ts";
import { certificatesFor } from "./authority.ts";
import { clientConfig, serverConfig, tunnelOffset } from "./haproxy-config.ts";
import { haproxyProgram } from "./haproxy-program.ts";
import { runningPair } from "./pair.ts";
import { ProxyProcess } from "./proxy-process.ts";
import { outboundPort, redirect } from "./redirect.ts";
import type { Stage, StagePod } from "./stage.ts";

export async function startHaproxy(stage: Stage): Promise<RunningSide | AbsentSide> {
  const absent = (reason: string): AbsentSide => ({ name: "haproxy", absent: reason });
  const { client, server, workers, ports, folder } = stage;
  if (client.netns === undefined || server.netns === undefined)
    return absent("haproxy needs root: it keeps clients' addresses, and runs as a user of its own.");
  const program = await haproxyProgram(folder);
  if (program instanceof Unavailable) return absent(program.missing);
  try {
    const certificates = certificatesFor("haproxy", folder, Date.now(), haproxyUser);
    const start = (pod: StagePod, name: string, config: string, listens: number[]): Promise<ProxyProcess | string> => {
      const file = join(folder, `${name}.cfg`);
      writeFileSync(file, config, { mode: 0o600 });
      chownSync(file, haproxyUser, haproxyUser);
      return ProxyProcess.start(`haproxy at the ${name}`, pod, [...asHaproxy, ...program, "-db", "-f", file], listens);
    };
    const tunnels = ports.map((port) => port + tunnelOffset);
    await redirect(client.netns, { uid: haproxyUser });
    await redirect(server.netns, { uid: haproxyUser, tunnelPorts: tunnels });
    const atServer = await start(server, "server", serverConfig(certificates.server, workers, ports), tunnels);
    const atClient = await start(client, "client", clientConfig(certificates.client, workers), [outboundPort]);
    return await runningPair("haproxy", stage, atClient, atServer);
  } catch (thrown) {
    return absent(`haproxy could not be put into its pods: ${messageOf(thrown)}.`);
  }
}

/** Nobody else's. */
const haproxyUser = 65_010;

/** haproxy stays this user from its first moment: one that is to bind to others' addresses may not change users by itself. */
const asHaproxy = [
  ...["setpriv", `--reuid=${haproxyUser}`, `--regid=${haproxyUser}`, "--clear-groups"],
  ...["--inh-caps=+net_admin", "--ambient-caps=+net_admin", "--pdeathsig=KILL", "--"],
];
