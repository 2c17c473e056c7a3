/**
 * Tunnels to be shared: one pool per pod and worker. A tunnel serves whoever asks for the same key, and the key says everything
 * that must agree: who we are, who the peer may be, and where it is. Keys are full text in a Map, never a hash.
 */
import type { Clock } from "../../core/base/clock.ts";
import type { Endpoint } from "../../core/base/ip.ts";
import { formatEndpoint } from "../../core/base/ip.ts";
import { TunnelError, type ClientTunnel } from "./tunnel.ts";
import { TunnelsTo, type CreateTunnel, type Lease, type TunnelsHost } from "./tunnels-to.ts";

export type { CreateTunnel, Creation, Lease } from "./tunnels-to.ts";

export interface TunnelTarget {
  /** SPIFFE URI of ours. */
  readonly source: string;
  /** SPIFFE URIs of which the peer must prove one, in the order of the decision. */
  readonly accepted: readonly string[];
  readonly endpoint: Endpoint;
  /** The pod whose namespace the tunnel leaves from. */
  readonly pod: string;
}

export interface TunnelPoolOptions {
  readonly clock: Clock;
  /** How long a tunnel without streams is kept. Default five minutes. */
  readonly idleReleaseMs?: number;
  /** A tunnel has gone. */
  readonly onGone?: () => void;
}

export class TunnelPool implements TunnelsHost {
  readonly #options: TunnelPoolOptions;
  readonly #byKey = new Map<string, TunnelsTo>();
  /** Tunnels that take no new streams but still have some. */
  readonly #leaving = new Set<ClientTunnel>();
  /** `passing`: a tunnel is made for whoever needs one, and goes with its last stream. */
  #phase: TunnelsHost["phase"] = "open";
  #epoch = 0;
  #newest = 0;

  constructor(options: TunnelPoolOptions) {
    this.#options = options;
  }

  /** Room in a tunnel that exists, in the same turn. @param after only in a tunnel made later: {@link Lease.newest}. */
  take(target: TunnelTarget, after = 0): Lease | undefined {
    return this.#byKey.get(poolKey(target))?.take(after);
  }

  /**
   * Room as soon as there is any: `create` makes a tunnel, one at a time for all who wait for it. When that fails all of them get its
   * error at once.
   * @param withinMs whoever got none by then is told how far it came; it goes on for the others.
   * @param after only in a tunnel made later: {@link Lease.newest}.
   */
  acquire(target: TunnelTarget, create: CreateTunnel, withinMs: number, after = 0): Promise<Lease | TunnelError> {
    if (this.#phase === "closed") return Promise.resolve(podGone);
    const key = poolKey(target);
    let tunnels = this.#byKey.get(key);
    if (tunnels === undefined) this.#byKey.set(key, (tunnels = new TunnelsTo(key, target.endpoint.address, this)));
    return tunnels.wait(create, withinMs, after);
  }

  get tunnels(): number {
    let count = this.#leaving.size;
    for (const { size } of this.#byKey.values()) count += size;
    return count;
  }

  /** Called about once a second: keepalives, and the release of what has been idle for long. */
  tick(nowMs: number): void {
    const { idleReleaseMs = 300_000 } = this.#options;
    for (const tunnels of [...this.#byKey.values()]) tunnels.tick(nowMs, idleReleaseMs);
    for (const tunnel of [...this.#leaving]) tunnel.tick(nowMs);
  }

  /** No tunnel that stands, or is being made, takes another stream: our certificate has been replaced. Open streams go on. */
  retireAll(): void {
    this.#epoch += 1;
    this.#retireStanding();
  }

  /** The same for tunnels to these addresses: who lived there is gone, and whoever comes next has not heard of them. */
  retireTo(addresses: ReadonlySet<string>): void {
    for (const tunnels of [...this.#byKey.values()]) if (addresses.has(tunnels.address)) tunnels.retire();
  }

  /** No tunnel that stands takes another stream; connections that are still on their way to one get one that ends with them. */
  retire(): void {
    this.#phase = "passing";
    this.#retireStanding();
  }

  /** Ends every tunnel at once, streams and all. */
  destroy(): void {
    this.#phase = "closed";
    for (const tunnels of [...this.#byKey.values()]) tunnels.destroy(podGone);
    for (const tunnel of [...this.#leaving]) tunnel.destroy();
  }

  /** A tunnel that nobody else may use: it is kept alive, counted and ended with the others. It has its one stream already. */
  keep(tunnel: ClientTunnel): void {
    this.#leaving.add(tunnel);
    tunnel.changed = () => {
      if (tunnel.phase === "closed") this.gone(tunnel);
    };
    tunnel.retire();
    if (this.#phase === "closed") tunnel.destroy();
  }

  /** @internal TunnelsHost. */
  get clock(): Clock {
    return this.#options.clock;
  }

  /** @internal TunnelsHost. */
  get phase(): TunnelsHost["phase"] {
    return this.#phase;
  }

  /** @internal TunnelsHost. */
  get epoch(): number {
    return this.#epoch;
  }

  /** @internal TunnelsHost. */
  get newest(): number {
    return this.#newest;
  }

  /** @internal TunnelsHost. */
  nextOrdinal(): number {
    return (this.#newest += 1);
  }

  /** @internal TunnelsHost. */
  leaving(tunnel: ClientTunnel): void {
    this.#leaving.add(tunnel);
  }

  /** @internal TunnelsHost. */
  gone(tunnel: ClientTunnel): void {
    this.#leaving.delete(tunnel);
    this.#options.onGone?.();
  }

  /** @internal TunnelsHost. */
  emptied(tunnels: TunnelsTo): void {
    // It may be asked again after it was forgotten: what is there under its key by then is another one's.
    if (this.#byKey.get(tunnels.key) === tunnels) this.#byKey.delete(tunnels.key);
  }

  #retireStanding(): void {
    for (const tunnels of [...this.#byKey.values()]) tunnels.retire();
  }
}

/** Every part of the target; no part can hold a line feed. */
function poolKey(target: TunnelTarget): string {
  return [target.pod, target.source, formatEndpoint(target.endpoint), ...target.accepted].join("\n");
}

const podGone = new TunnelError({ code: "tunnel.lost", detail: "the pod is gone" });
