/**
 * Tunnels to be shared: one pool per pod and worker. A tunnel serves whoever asks for the same key, and the key says everything
 * that must agree: who we are, who the peer may be, and where it is. Keys are full text in a Map, never a hash.
 */
import type { Endpoint } from "../../core/base/ip.ts";
import { formatEndpoint } from "../../core/base/ip.ts";
import { TunnelError, type ClientTunnel } from "./tunnel.ts";

export interface TunnelTarget {
  /** SPIFFE URI of ours. */
  readonly source: string;
  /** SPIFFE URIs of which the peer must prove one, in the order of the decision. */
  readonly accepted: readonly string[];
  readonly endpoint: Endpoint;
  /** The pod whose namespace the tunnel leaves from. */
  readonly pod: string;
}

/** A stream's worth of room in a tunnel. `reused` when the tunnel had served before. */
export interface Lease {
  readonly tunnel: ClientTunnel;
  readonly reused: boolean;
}

export interface TunnelPoolOptions {
  readonly nowMs: () => number;
  /** How long a tunnel without streams is kept. Default five minutes. */
  readonly idleReleaseMs?: number;
  /** A tunnel has gone. */
  readonly onGone?: () => void;
}

interface Pooled {
  readonly tunnel: ClientTunnel;
  /** When its last stream ended; undefined while it has one. */
  idleSinceMs: number | undefined;
}

interface Entry {
  readonly tunnels: Pooled[];
  /** The one creation in flight, shared by all who wait. */
  creating: Promise<ClientTunnel | TunnelError> | undefined;
}

export class TunnelPool {
  readonly #options: TunnelPoolOptions;
  readonly #entries = new Map<string, Entry>();
  /** Tunnels that take no new streams but still have some. */
  readonly #leaving = new Set<ClientTunnel>();
  /** `retired`: a tunnel is made for whoever needs one, and goes with its last stream. */
  #phase: "open" | "retired" | "closed" = "open";

  constructor(options: TunnelPoolOptions) {
    this.#options = options;
  }

  /** Room in a tunnel that exists, or one that `create` makes; all who wait for a creation that fails get its error. */
  async acquire(
    target: TunnelTarget,
    create: () => Promise<ClientTunnel | TunnelError>,
    fresh = false,
  ): Promise<Lease | TunnelError> {
    const key = poolKey(target);
    if (!fresh) {
      const lease = this.#take(key);
      if (lease !== undefined) return lease;
    }
    for (;;) {
      if (this.#phase === "closed") return new TunnelError({ code: "tunnel.lost", detail: "the pod is gone" });
      const entry = this.#entry(key);
      const creator = entry.creating === undefined;
      entry.creating ??= this.#create(key, entry, create);
      const made = await entry.creating;
      if (made instanceof TunnelError) return made;
      // Those who came before may have filled it; then the first of the rest makes the next one.
      if (made.room > 0) {
        made.reserve();
        return { tunnel: made, reused: !creator };
      }
      // The peer is leaving: it may have a successor at the same place.
      if (made.phase !== "open")
        return new TunnelError({ code: "tunnel.lost", detail: "retired before its first stream" });
      const lease = this.#take(key);
      if (lease !== undefined) return lease;
      // A tunnel that has no room for the one who made it has none for anybody: no loop of handshakes.
      if (creator) return new TunnelError({ code: "tunnel.no-room" });
    }
  }

  get tunnels(): number {
    let count = this.#leaving.size;
    for (const entry of this.#entries.values()) count += entry.tunnels.length;
    return count;
  }

  /** Called about once a second: keepalives, and the release of what has been idle for long. */
  tick(nowMs: number): void {
    const { idleReleaseMs = 300_000 } = this.#options;
    for (const entry of this.#entries.values()) {
      for (const pooled of [...entry.tunnels]) {
        pooled.tunnel.tick(nowMs);
        const { idleSinceMs } = pooled;
        if (idleSinceMs !== undefined && nowMs - idleSinceMs >= idleReleaseMs) pooled.tunnel.retire();
      }
    }
    for (const tunnel of this.#leaving) tunnel.tick(nowMs);
  }

  /** No tunnel that stands takes another stream: our certificate has been replaced. Open streams go on. */
  retireAll(): void {
    for (const entry of [...this.#entries.values()]) for (const { tunnel } of [...entry.tunnels]) tunnel.retire();
  }

  /** As {@link retireAll}; connections that are still on their way to a tunnel get one that ends with them. */
  retire(): void {
    this.#phase = "retired";
    this.retireAll();
  }

  /** Ends every tunnel at once, streams and all. */
  destroy(): void {
    this.#phase = "closed";
    for (const entry of [...this.#entries.values()]) for (const { tunnel } of [...entry.tunnels]) tunnel.destroy();
    for (const tunnel of [...this.#leaving]) tunnel.destroy();
  }

  #take(key: string): Lease | undefined {
    for (const { tunnel } of this.#entries.get(key)?.tunnels ?? []) {
      if (tunnel.room <= 0) continue;
      tunnel.reserve();
      return { tunnel, reused: true };
    }
    return undefined;
  }

  async #create(
    key: string,
    entry: Entry,
    create: () => Promise<ClientTunnel | TunnelError>,
  ): Promise<ClientTunnel | TunnelError> {
    const made = await create();
    entry.creating = undefined;
    if (made instanceof TunnelError) this.#forgetIfEmpty(key, entry);
    else this.#adopt(key, entry, made);
    return made;
  }

  #adopt(key: string, entry: Entry, tunnel: ClientTunnel): void {
    const pooled: Pooled = { tunnel, idleSinceMs: this.#options.nowMs() };
    entry.tunnels.push(pooled);
    tunnel.changed = () => this.#changed(key, entry, pooled);
    if (this.#phase === "closed") tunnel.destroy();
  }

  #changed(key: string, entry: Entry, pooled: Pooled): void {
    const { tunnel } = pooled;
    const wasBusy = pooled.idleSinceMs === undefined;
    pooled.idleSinceMs = tunnel.streams > 0 ? undefined : (pooled.idleSinceMs ?? this.#options.nowMs());
    if (tunnel.phase === "open") {
      if (this.#phase === "retired" && wasBusy && tunnel.streams === 0) tunnel.retire();
      return;
    }
    const at = entry.tunnels.indexOf(pooled);
    if (at >= 0) entry.tunnels.splice(at, 1);
    this.#forgetIfEmpty(key, entry);
    if (tunnel.phase !== "closed") return void this.#leaving.add(tunnel);
    this.#leaving.delete(tunnel);
    this.#options.onGone?.();
  }

  #entry(key: string): Entry {
    const known = this.#entries.get(key);
    if (known !== undefined) return known;
    const entry: Entry = { tunnels: [], creating: undefined };
    this.#entries.set(key, entry);
    return entry;
  }

  #forgetIfEmpty(key: string, entry: Entry): void {
    // A tunnel may outlive its entry: what is there under its key by then is another one's.
    const isEmpty = entry.tunnels.length === 0 && entry.creating === undefined;
    if (isEmpty && this.#entries.get(key) === entry) this.#entries.delete(key);
  }
}

/** Every part of the target; no part can hold a line feed. */
function poolKey(target: TunnelTarget): string {
  return [target.pod, target.source, formatEndpoint(target.endpoint), ...target.accepted].join("\n");
}
