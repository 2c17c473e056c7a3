/**
 * Passes queries of one pod on to their resolver, byte for byte but for the id: each from a port and under an id that nobody can foresee, out of the
 * pod's own namespace. Of what comes back only the answer to that query counts; everything else is dropped and the waiting goes on.
 */
import { formatEndpoint, isLoopback, type Endpoint } from "../../core/base/ip.ts";
import type { DnsFailure } from "../../core/decision/dns-failures.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import type { UdpExchange } from "../../core/linux/udp-sockets.ts";
import { idOf, isAnswerTo, questionEnd, withId } from "../../core/protocol/dns/message-view.ts";
import { headerLength } from "../../core/protocol/dns/constants.ts";
import type { DnsHost, DnsPod } from "./host.ts";
import { isProbeReturned, LoopGuard } from "./loop-guard.ts";
import type { DnsLabels } from "./observer.ts";

export interface Forwarded {
  /** Kept until it is answered. */
  readonly bytes: Uint8Array;
  /** Asked in this order, the next where one can't be reached. */
  readonly servers: readonly Endpoint[];
  readonly labels: DnsLabels;
  /** Called once. The reply bears the query's own id. */
  readonly done: (outcome: Uint8Array | DnsFailure) => void;
}

interface Waiting {
  readonly query: Forwarded;
  /** What was sent: the query under its new id. */
  readonly sent: Uint8Array;
  readonly question: string;
  readonly sinceMs: number;
  /** Index of the server that is asked. */
  at: number;
  exchange: UdpExchange | undefined;
}

export class UdpForwarder {
  /** Knows which resolvers loop; also of what waits elsewhere. */
  readonly guard: LoopGuard;
  readonly #host: DnsHost;
  readonly #pod: DnsPod;
  readonly #onIdle: () => void;
  /** Oldest first. */
  readonly #waiting = new Set<Waiting>();
  readonly #probes = new Set<UdpExchange>();
  /** Queries that wait elsewhere, and count here. */
  #reserved = 0;

  /** @param onIdle nothing waits any more. */
  constructor(host: DnsHost, pod: DnsPod, onIdle: () => void) {
    this.#host = host;
    this.#pod = pod;
    this.#onIdle = onIdle;
    this.guard = new LoopGuard({
      secret: host.settings.probeSecret,
      nowMs: () => host.clock.nowMs(),
      probe: (server, query) => this.#probe(server, query),
    });
  }

  /** Queries of this pod that wait for an answer. */
  get size(): number {
    return this.#waiting.size + this.#reserved;
  }

  get isFull(): boolean {
    return this.size >= this.#host.settings.inFlight;
  }

  /** Takes a place among them for a query that waits for something else. @returns false where there is none. */
  reserve(): boolean {
    if (this.isFull) return false;
    this.#reserved++;
    return true;
  }

  /** Gives it back. */
  release(): void {
    this.#reserved--;
    if (this.size === 0) this.#onIdle();
  }

  forward(query: Forwarded): void {
    if (this.isFull) return query.done("DNS_BUSY");
    if (query.servers.length === 0) return query.done("DNS_NO_SERVER");
    const sinceMs = this.#host.clock.nowMs();
    const sent = withId(query.bytes, this.#host.randomId());
    const waiting: Waiting = { query, sent, question: questionKey(query.bytes), sinceMs, at: 0, exchange: undefined };
    this.#waiting.add(waiting);
    this.#ask(waiting);
  }

  /** Ends what has waited for too long. */
  tick(nowMs: number): void {
    const { deadlineMs } = this.#host.settings;
    for (const waiting of this.#waiting) {
      if (nowMs - waiting.sinceMs < deadlineMs) break;
      this.#end(waiting, "DNS_TIMEOUT");
    }
  }

  /** Gives everything up, silently: whoever asked asks again. */
  destroy(): void {
    for (const { exchange } of this.#waiting) exchange?.close();
    for (const probe of this.#probes) probe.close();
    this.#waiting.clear();
    this.#probes.clear();
  }

  #ask(waiting: Waiting): void {
    const server = waiting.query.servers[waiting.at];
    if (server === undefined) return this.#end(waiting, "DNS_UNREACHABLE");
    if (isOwn(server, this.#host.settings.port)) return this.#end(waiting, "DNS_LOOP");
    if (!this.guard.begin(server, waiting.question)) return this.#end(waiting, "DNS_LOOP");
    this.#host.observer.forwarded(waiting.query.labels);
    const next = (): void => {
      this.guard.end(server, waiting.question);
      waiting.exchange = undefined;
      waiting.at++;
      this.#ask(waiting);
    };
    const exchange = this.#host.openUdp(waiting.sent, {
      netns: this.#pod.netns,
      remote: server,
      mark: this.#host.packetMark,
      onMessage: (reply) => this.#receive(waiting, reply),
      onError: next,
    });
    if (exchange instanceof LinuxError) return next();
    waiting.exchange = exchange;
  }

  #receive(waiting: Waiting, reply: Uint8Array): void {
    if (!this.#waiting.has(waiting) || !isAnswerTo(waiting.sent, reply)) return;
    const { query, sinceMs } = waiting;
    this.#host.observer.answered(query.labels, (this.#host.clock.nowMs() - sinceMs) / 1_000);
    this.#end(waiting, withId(reply, idOf(query.bytes)));
  }

  #end(waiting: Waiting, outcome: Uint8Array | DnsFailure): void {
    const { query, exchange, at, question } = waiting;
    const server = query.servers[at];
    if (exchange !== undefined && server !== undefined) this.guard.end(server, question);
    exchange?.close();
    this.#waiting.delete(waiting);
    if (typeof outcome === "string") this.#host.observer.failed(query.labels);
    query.done(outcome);
    if (this.size === 0) this.#onIdle();
  }

  #probe(server: Endpoint, query: Uint8Array): void {
    const { settings, clock, log } = this.#host;
    const forget = (): void => {
      cancel();
      if (!(probe instanceof LinuxError)) {
        probe.close();
        this.#probes.delete(probe);
      }
    };
    const probe = this.#host.openUdp(query, {
      netns: this.#pod.netns,
      remote: server,
      mark: this.#host.packetMark,
      onMessage: (reply) => {
        if (!isProbeReturned(query, reply, settings.probeSecret)) return;
        forget();
        const { namespace, name } = this.#pod.info;
        log.warn(
          { code: "DNS_LOOP", pod: `${namespace}/${name}`, server: formatEndpoint(server) },
          "a resolver sends back what it is asked",
        );
        this.guard.found(server);
        for (const waiting of [...this.#waiting]) {
          const asked = waiting.query.servers[waiting.at];
          if (asked?.address === server.address && asked.port === server.port) this.#end(waiting, "DNS_LOOP");
        }
      },
      onError: forget,
    });
    const cancel = clock.after(settings.deadlineMs, forget);
    if (!(probe instanceof LinuxError)) this.#probes.add(probe);
  }
}

/** Whether that is where our own listeners are, in whichever namespace. */
export function isOwn({ address, port }: Endpoint, ownPort: number): boolean {
  return port === ownPort && isLoopback(address);
}

/** The same for the same question, whatever its id. */
export function questionKey(bytes: Uint8Array): string {
  const end = questionEnd(bytes) ?? headerLength;
  return Buffer.from(bytes.buffer, bytes.byteOffset + headerLength, end - headerLength)
    .toString("latin1")
    .toLowerCase();
}
