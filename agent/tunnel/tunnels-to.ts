/**
 * The tunnels that serve one target, the one that is being made, and who waits for room. One is made at a time, for all who wait; each
 * of them waits for as long as it may itself. A peer that allows no stream at all is not given tunnel after tunnel: it is waited for.
 */
import type { Clock } from "../../core/base/clock.ts";
import { TunnelError, type ClientTunnel } from "./tunnel.ts";

/** A stream's worth of room in a tunnel. */
export interface Lease {
  readonly tunnel: ClientTunnel;
  /** The tunnel had served before. */
  readonly reused: boolean;
  /** Ordinal of the newest tunnel that there was then: only later ones are certain not to have shared this one's fate. */
  readonly newest: number;
}

/** How far the making of a tunnel has come: what a waiter is told whose time is up first. */
export interface Creation {
  stage: "tcp" | "tls";
}

export type CreateTunnel = (creation: Creation) => Promise<ClientTunnel | TunnelError>;

/** What a target's tunnels ask of their pool. */
export interface TunnelsHost {
  readonly clock: Clock;
  /** `passing`: no tunnel outlives its last stream. */
  readonly phase: "open" | "passing" | "closed";
  /** Changes when tunnels that are being made shall serve only those who wait for them already. */
  readonly epoch: number;
  /** Ordinal of the newest tunnel. */
  readonly newest: number;
  nextOrdinal(): number;
  /** It takes no new streams and still has some. */
  leaving(tunnel: ClientTunnel): void;
  gone(tunnel: ClientTunnel): void;
  /** There is neither a tunnel nor anybody who waits for one. */
  emptied(tunnels: TunnelsTo): void;
}

interface Pooled {
  readonly tunnel: ClientTunnel;
  readonly ordinal: number;
  hasServed: boolean;
  /** When its last stream ended; undefined while it has one. */
  idleSinceMs: number | undefined;
}

interface Waiter {
  readonly create: CreateTunnel;
  /** Ordinal that the tunnel must be beyond. */
  readonly after: number;
  settle(result: Lease | TunnelError): void;
  /** For a bug of ours. */
  reject(thrown: unknown): void;
}

export class TunnelsTo {
  readonly key: string;
  /** Where they lead. */
  readonly address: string;
  readonly #host: TunnelsHost;
  readonly #tunnels: Pooled[] = [];
  /** In the order in which they came. */
  readonly #waiting = new Set<Waiter>();
  #creation: Creation | undefined;
  #isServing = false;

  constructor(key: string, address: string, host: TunnelsHost) {
    this.key = key;
    this.address = address;
    this.#host = host;
  }

  get size(): number {
    return this.#tunnels.length;
  }

  get isEmpty(): boolean {
    return this.#tunnels.length === 0 && this.#waiting.size === 0 && this.#creation === undefined;
  }

  /** Room that is there, if there is any. */
  take(after = 0): Lease | undefined {
    for (const pooled of this.#tunnels) {
      const { tunnel, ordinal, hasServed } = pooled;
      if (tunnel.room <= 0 || ordinal <= after) continue;
      pooled.hasServed = true;
      const { newest } = this.#host;
      tunnel.reserve();
      return { tunnel, reused: hasServed, newest };
    }
    return undefined;
  }

  /** Room as soon as there is any, or why there is none; `withinMs` at the latest. */
  wait(create: CreateTunnel, withinMs: number, after: number): Promise<Lease | TunnelError> {
    const { promise, resolve, reject } = Promise.withResolvers<Lease | TunnelError>();
    const waiter: Waiter = {
      create,
      after,
      settle: (result) => {
        cancel();
        this.#waiting.delete(waiter);
        resolve(result);
      },
      reject: (thrown) => {
        cancel();
        reject(thrown);
      },
    };
    // Set before the creation's own deadline: where both are the same it is this one that is heard.
    const cancel = this.#host.clock.after(withinMs, () => {
      waiter.settle(this.#timedOut(withinMs));
      this.#look();
    });
    this.#waiting.add(waiter);
    this.#serve();
    return promise;
  }

  tick(nowMs: number, idleReleaseMs: number): void {
    for (const { tunnel, idleSinceMs } of [...this.#tunnels]) {
      tunnel.tick(nowMs);
      if (idleSinceMs !== undefined && nowMs - idleSinceMs >= idleReleaseMs) tunnel.retire();
    }
  }

  retire(): void {
    for (const { tunnel } of [...this.#tunnels]) tunnel.retire();
  }

  destroy(error: TunnelError): void {
    for (const waiter of [...this.#waiting]) waiter.settle(error);
    for (const { tunnel } of [...this.#tunnels]) tunnel.destroy();
    this.#look();
  }

  /** Gives what room there is to those who wait, and has a tunnel made for the rest. */
  #serve(): void {
    // Taking room changes a tunnel, which would come back here for each.
    if (this.#isServing) return;
    this.#isServing = true;
    for (const waiter of this.#waiting) {
      const lease = this.take(waiter.after);
      if (lease !== undefined) waiter.settle(lease);
      else if (waiter.after === 0) break;
    }
    this.#isServing = false;
    if (this.#creation !== undefined) return;
    for (const waiter of this.#waiting) {
      if (!this.#tunnels.some((pooled) => pooled.ordinal > waiter.after && allowsNone(pooled.tunnel))) {
        return this.#create(waiter.create);
      }
    }
  }

  #create(create: CreateTunnel): void {
    const creation: Creation = { stage: "tcp" };
    this.#creation = creation;
    const { epoch } = this.#host;
    create(creation).then(
      (made) => {
        this.#creation = undefined;
        if (made instanceof TunnelError) this.#notMade(made);
        else this.#made(made, epoch);
        this.#look();
      },
      (thrown: unknown) => {
        this.#creation = undefined;
        for (const waiter of this.#waiting) waiter.reject(thrown);
        this.#waiting.clear();
        this.#look();
      },
    );
  }

  #made(tunnel: ClientTunnel, epoch: number): void {
    const { clock } = this.#host;
    if (this.#host.phase === "closed") return tunnel.destroy();
    const ordinal = this.#host.nextOrdinal();
    const pooled: Pooled = { tunnel, ordinal, hasServed: false, idleSinceMs: clock.nowMs() };
    this.#tunnels.push(pooled);
    tunnel.changed = () => this.#changed(pooled);
    if (tunnel.phase !== "open") return this.#changed(pooled);
    this.#serve();
    const isOfThePast = epoch !== this.#host.epoch || (this.#host.phase === "passing" && tunnel.streams === 0);
    if (isOfThePast) tunnel.retire();
  }

  /** All hear it at once; but the end of one tunnel's time is not the end of theirs. */
  #notMade(error: TunnelError): void {
    const isOutOfTime = error.type.code === "tunnel.connect-timeout" || error.type.code === "tunnel.tls-timeout";
    if (isOutOfTime) return this.#serve();
    this.#fail(error);
  }

  #changed(pooled: Pooled): void {
    const { tunnel } = pooled;
    const wasBusy = pooled.idleSinceMs === undefined;
    pooled.idleSinceMs = tunnel.streams > 0 ? undefined : (pooled.idleSinceMs ?? this.#host.clock.nowMs());
    if (tunnel.phase === "open") {
      if (this.#waiting.size > 0) this.#serve();
      if (this.#host.phase === "passing" && wasBusy && tunnel.streams === 0) tunnel.retire();
      return;
    }
    const at = this.#tunnels.indexOf(pooled);
    if (at >= 0) this.#tunnels.splice(at, 1);
    if (tunnel.phase === "closed") this.#host.gone(tunnel);
    else this.#host.leaving(tunnel);
    // Who waits now waited for room in it. The peer may have a successor at the same place, but not one handshake after the other.
    if (at >= 0 && this.#creation === undefined) this.#fail(retiredUnused);
    this.#look();
  }

  #fail(error: TunnelError): void {
    for (const waiter of [...this.#waiting]) waiter.settle(error);
  }

  #timedOut(afterMs: number): TunnelError {
    if (this.#creation === undefined) return new TunnelError({ code: "tunnel.no-room" });
    const code = this.#creation.stage === "tcp" ? "tunnel.connect-timeout" : "tunnel.tls-timeout";
    return new TunnelError({ code, afterMs });
  }

  #look(): void {
    if (this.isEmpty) this.#host.emptied(this);
  }
}

/** Its peer allows no stream, not even one alone. */
function allowsNone(tunnel: ClientTunnel): boolean {
  return tunnel.phase === "open" && tunnel.room + tunnel.streams <= 0;
}

const retiredUnused = new TunnelError({ code: "tunnel.lost", detail: "retired before its first stream" });
