/** The host of a worker's DNS proxies, on the real kernel. */
import { randomInt } from "node:crypto";
import type { Endpoint } from "../../core/base/ip.ts";
import type { Log } from "../../core/base/log.ts";
import { originalUdpDestination } from "../../core/linux/conntrack.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { UdpExchange } from "../../core/linux/udp-sockets.ts";
import type { DnsHost } from "./host.ts";

type Given = Omit<DnsHost, "randomId" | "openUdp" | "originalUdpDestination">;

export function workerDnsHost(given: Given): DnsHost {
  return {
    ...given,
    randomId: () => randomInt(65_536),
    openUdp: (first, options) => UdpExchange.open(first, options),
    originalUdpDestination: destinationFinder(given.log),
  };
}

/**
 * Asks the kernel whom a query was for. An agent that may not, or a kernel without that door, is not asked again: then every query goes to the
 * configured resolvers, as upstream's do.
 */
export function destinationFinder(log: Log, ask = originalUdpDestination): DnsHost["originalUdpDestination"] {
  let refused = false;
  return (netns, from, to): Endpoint | undefined => {
    if (refused) return undefined;
    const found = ask(netns, { source: to, destination: from });
    if (!(found instanceof LinuxError)) return found;
    if (!permanent.has(found.errno ?? "")) return undefined;
    refused = true;
    log.warn(
      { error: found.type },
      "the kernel does not say which resolver a query was for (CAP_NET_ADMIN is missing, or nf_conntrack_netlink): all go to the agent's own",
    );
    return undefined;
  };
}

/** Not allowed; no such protocol; no such subsystem. */
const permanent: ReadonlySet<string> = new Set(["EPERM", "EPROTONOSUPPORT", "EINVAL", "EOPNOTSUPP"]);
