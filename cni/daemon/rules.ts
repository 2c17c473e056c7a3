/**
 * The in-pod rule set as data: what is captured, and what stays free. Same tables, chains, marks and ports as istio-cni's
 * nftables backend (cni/pkg/nftables, table names included), so that either data plane serves either rule set; plus one rule
 * at the head of both nat chains, so that enrolling a running pod cuts nothing.
 */
import {
  removeTables,
  replaceTables,
  type Expression,
  type NftOperation,
  type Rule,
  type Table,
} from "../../core/linux/nftables/model.ts";
import type { ConnectionFilter, TrackedConnection } from "../../core/linux/conntrack.ts";
import type { MarkRule } from "../../core/linux/netlink/rules.ts";
import type { RouteOptions } from "../../core/linux/netlink/routes.ts";

/** Where the agent listens in every pod. 15008 (HBONE) is reached directly and never redirected to. */
export const ports = { outbound: 15001, inboundPlaintext: 15006, hbone: 15008, dns: 15053 } as const;

/** Where kubelet's probes come from, by the node's source NAT (istio: HOST_PROBE_SNAT_IP, HOST_PROBE_SNAT_IPV6). */
export const defaultProbeAddresses = {
  ipv4: "169.254.7.127",
  ipv6: "fd16:9254:7127:1337:ffff:ffff:ffff:ffff",
} as const;

export interface PodRuleOptions {
  /** Annotation ambient.istio.io/dns-capture, else the node's default. */
  readonly dnsCapture: boolean;
  /** Whether the pod's namespace speaks IPv6. */
  readonly ipv6: boolean;
  /** Annotation ambient.istio.io/bypass-inbound-capture: capture outbound only. */
  readonly ingressMode?: boolean;
  /** Annotation istio.io/reroute-virtual-interfaces: what comes in there is outbound traffic (of a VM in the pod). */
  readonly virtualInterfaces?: readonly string[];
  readonly probeAddresses?: { readonly ipv4: string; readonly ipv6: string };
}

/** The tables that make a pod a captured one. Without DNS capture there is no raw table. */
export function podRules(options: PodRuleOptions): Table[] {
  const tables = [natTable(options), mangleTable()];
  return options.dnsCapture ? [...tables, rawTable()] : tables;
}

/** The transaction that enrols: idempotent, and it changes a pod whose options changed. */
export function enrolRules(options: PodRuleOptions): NftOperation[] {
  const superfluous = options.dnsCapture ? [] : [{ family: "inet", name: tableNames.raw } as const];
  return [...replaceTables(podRules(options)), ...removeTables(superfluous)];
}

/**
 * The first transaction of un-enrolment: nothing new is captured. The nat hooks stay, because the translations of captured
 * connections live in them, and so do the connection marks (and ip rule and route) that bring source-preserved replies back.
 */
export function releaseRules(): NftOperation[] {
  const table = tableNames.nat;
  return [prerouting, output].flatMap((chain): NftOperation[] => [
    { kind: "add-table", family: "inet", table },
    { kind: "add-chain", family: "inet", table, chain },
    { kind: "flush-chain", family: "inet", table, chain },
  ]);
}

/** The last transaction, when no captured connection is left: nothing of ours remains. Fine when nothing is there. */
export function removeRules(): NftOperation[] {
  return removeTables(Object.values(tableNames).map((name) => ({ family: "inet", name })));
}

/**
 * The connections that the kernel translates, or routes the answers of, as our rules said while they were there: it would go on doing so to others
 * that come to run between the same ports.
 */
export function capturedConnections(): (readonly [ConnectionFilter, (one: TrackedConnection) => boolean])[] {
  const isRedirected = ({ original, reply }: TrackedConnection): boolean =>
    reply.source.port !== original.destination.port && redirectPorts.has(reply.source.port);
  const isMarked = ({ mark }: TrackedConnection): boolean => (mark & inboundMark.mask) === inboundMark.value;
  return [
    [{ destinationTranslated: true }, isRedirected],
    [{ mark: inboundMark }, isMarked],
  ];
}

/**
 * Clients that ask from one port again and again would be sent to the agent's DNS port as long as the kernel remembers the first time: to be forgotten
 * when the agent has been told that it is to answer no more.
 */
export function capturedQueries(): readonly [ConnectionFilter, (one: TrackedConnection) => boolean] {
  return [
    { destinationTranslated: true },
    ({ protocol, reply }: TrackedConnection): boolean => protocol === "udp" && reply.source.port === ports.dns,
  ];
}

/** Packets of proxied inbound connections are delivered here whatever address they bear: to the agent's transparent sockets. */
export function podRouting(ipv6: boolean): { rules: MarkRule[]; routes: Omit<RouteOptions, "netns">[] } {
  const families = ipv6 ? (["ipv4", "ipv6"] as const) : (["ipv4"] as const);
  return {
    rules: families.map((family) => {
      return { mark: inboundMark.value, mask: inboundMark.mask, table: 100, priority: 32764, family };
    }),
    routes: families.map((family) => ({
      destination: { address: family === "ipv4" ? "0.0.0.0" : "::", prefix: 0 },
      interface: "lo",
      type: "local",
      table: 100,
    })),
  };
}

function natTable(options: PodRuleOptions): Table {
  const { dnsCapture, ipv6, ingressMode = false, virtualInterfaces = [] } = options;
  const probes = options.probeAddresses ?? defaultProbeAddresses;
  const families = ipv6 ? [loopback4, loopback6] : [loopback4];
  const probeAddresses = ipv6 ? [probes.ipv4, probes.ipv6] : [probes.ipv4];

  const incoming: Rule[] = [
    runningConnection,
    ...virtualInterfaces.flatMap((name) => fromVirtualInterface(name)),
    ...(ingressMode ? [] : probeAddresses.map((address): Rule => [tcp, from(address), counter, accept])),
    ...(ingressMode
      ? []
      : families.map((loopback): Rule => {
          return [notTo(loopback), portIsNot(ports.hbone), notByProxy, counter, redirect(ports.inboundPlaintext)];
        })),
  ];
  const outgoing: Rule[] = [
    runningConnection,
    ...probeAddresses.map((address): Rule => [tcp, to(address), counter, accept]),
    ...(dnsCapture ? dnsRedirects(families) : []),
    [tcp, ofInbound, counter, accept],
    ...families.map((loopback): Rule => [outOfLoopback, notTo(loopback), counter, accept]),
    ...families.map((loopback): Rule => [tcp, notTo(loopback), notByProxy, counter, redirect(ports.outbound)]),
  ];
  return baseAndRegular(tableNames.nat, incoming, outgoing, { type: "nat", priority: -100 });
}

/** The proxy's inbound connections to the application mark their connection; replies get the mark back and take table 100. */
function mangleTable(): Table {
  const mark: Rule = [
    byProxy,
    counter,
    { kind: "set-connection-mark", keep: ~inboundMark.mask >>> 0, value: inboundMark.value },
  ];
  const restore: Rule = [{ kind: "connection-mark", ...inboundMark }, counter, { kind: "restore-mark" }];
  const table = baseAndRegular(tableNames.mangle, [mark], [restore], { type: "filter", priority: -150 });
  // Type route: a packet whose mark changed on its way out is routed anew.
  return { ...table, chains: table.chains.map(asRouteHook) };
}

/** The agent's own DNS queries are tracked apart, so that their ports don't collide with those of captured ones. */
function rawTable(): Table {
  const zone: Expression = { kind: "set-zone", zone: 1 };
  const answers: Rule = [{ kind: "port", protocol: "udp", side: "source", port: 53 }, notByProxy, counter, zone];
  const queries: Rule = [{ kind: "port", protocol: "udp", side: "destination", port: 53 }, byProxy, counter, zone];
  return baseAndRegular(tableNames.raw, [answers], [queries], { type: "filter", priority: -300 });
}

function dnsRedirects(families: readonly string[]): Rule[] {
  const notLoopback: Expression = { kind: "interface", side: "out", name: "lo", not: true };
  const udp: Rule = [
    notLoopback,
    notByProxy,
    { kind: "port", protocol: "udp", side: "destination", port: 53 },
    counter,
    redirect(ports.dns),
  ];
  const overTcp = families.map((loopback): Rule => {
    const port: Expression = { kind: "port", protocol: "tcp", side: "destination", port: 53 };
    return [notTo(loopback), port, notByProxy, counter, redirect(ports.dns)];
  });
  return [udp, ...overTcp];
}

function fromVirtualInterface(name: string): Rule[] {
  const here: Expression = { kind: "interface", side: "in", name };
  return [
    [here, tcp, counter, redirect(ports.outbound)],
    [here, tcp, counter, { kind: "return" }],
  ];
}

/** Base chains that only jump, and the chains they jump to: those can be emptied while the hooks stay. */
function baseAndRegular(
  name: string,
  incoming: readonly Rule[],
  outgoing: readonly Rule[],
  hook: { readonly type: "nat" | "filter"; readonly priority: number },
): Table {
  return {
    family: "inet",
    name,
    chains: [
      { name: "prerouting", hook: { ...hook, hook: "prerouting" }, rules: [[{ kind: "jump", chain: prerouting }]] },
      { name: "output", hook: { ...hook, hook: "output" }, rules: [[{ kind: "jump", chain: output }]] },
      { name: prerouting, rules: incoming },
      { name: output, rules: outgoing },
    ],
  };
}

function asRouteHook(chain: Table["chains"][number]): Table["chains"][number] {
  if (chain.hook?.hook !== "output") return chain;
  return { ...chain, hook: { ...chain.hook, type: "route" } };
}

function from(address: string): Expression {
  return { kind: "address", side: "source", address };
}

function to(address: string): Expression {
  return { kind: "address", side: "destination", address };
}

function notTo(address: string): Expression {
  return { kind: "address", side: "destination", address, not: true };
}

function portIsNot(port: number): Expression {
  return { kind: "port", protocol: "tcp", side: "destination", port, not: true };
}

function redirect(port: number): Expression {
  return { kind: "redirect", port };
}

const redirectPorts: ReadonlySet<number> = new Set([ports.outbound, ports.inboundPlaintext, ports.dns]);
const tableNames = {
  nat: "istio-ambient-nat",
  mangle: "istio-ambient-mangle",
  raw: "istio-ambient-raw",
} as const;
const prerouting = "istio-prerouting";
const output = "istio-output";
const loopback4 = "127.0.0.1";
const loopback6 = "::1";

/** SO_MARK of every socket of the agent. */
export const proxyMark = { value: 0x539, mask: 0xfff } as const;
/** Of connections that the agent opened to the application. */
const inboundMark = { value: 0x111, mask: 0xfff } as const;

const tcp: Expression = { kind: "protocol", protocol: "tcp" };
const counter: Expression = { kind: "counter" };
const accept: Expression = { kind: "accept" };
const byProxy: Expression = { kind: "mark", ...proxyMark };
const notByProxy: Expression = { kind: "mark", ...proxyMark, not: true };
const ofInbound: Expression = { kind: "mark", ...inboundMark };
const outOfLoopback: Expression = { kind: "interface", side: "out", name: "lo" };

const fin = 0x01;
const syn = 0x02;
const rst = 0x04;
const ack = 0x10;

/**
 * Conntrack begins with these rules, takes a running connection's next segment for the first of a new one and would redirect
 * it, which resets it at both ends. Only what a connect() sends begins a connection: SYN alone (with or without ECN's bits).
 */
const runningConnection: Rule = [
  { kind: "tcp-flags", mask: fin | syn | rst | ack, value: syn, not: true },
  counter,
  accept,
];
