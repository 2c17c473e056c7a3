/** Resolvers for queries of which the kernel does not say whom they were for: those that were configured, else the agent's own. */
import { canonicalIp, isLoopback, parseEndpoint, socketIp, type Endpoint } from "../../core/base/ip.ts";

export interface NameServers {
  readonly usable: readonly Endpoint[];
  /** On loopback: in a pod's namespace there is another loopback, and whoever listens there is not who was meant. */
  readonly onLoopback: readonly string[];
}

/** Of resolv.conf(5) only the name servers count: what is searched is for whoever asks to say. */
export function parseResolvConf(text: string): NameServers {
  const named = text.split("\n").flatMap((line) => {
    const [, address] = /^nameserver\s+(\S+)/.exec(line) ?? [];
    const canonical = socketIp(address ?? "");
    return canonical === undefined ? [] : [canonical];
  });
  return {
    usable: named.filter((address) => !isLoopback(address)).map((address) => ({ address, port: dnsPort })),
    onLoopback: named.filter(isLoopback),
  };
}

/** `10.96.0.10,[fd00::a]:5353`; undefined where one of them is no address. */
export function parseNameServers(text: string): Endpoint[] | undefined {
  const servers: Endpoint[] = [];
  for (const item of text.split(",").map((one) => one.trim())) {
    const address = canonicalIp(item);
    const server = address === undefined ? parseEndpoint(item) : { address, port: dnsPort };
    if (server === undefined || server.port === 0) return undefined;
    servers.push(server);
  }
  return servers;
}

export const dnsPort = 53;
