/**
 * One of several replicas leads: who holds a Lease (coordination.k8s.io/v1) and renews it in time. Others' clocks are not
 * trusted: a lease has run out when it was not seen to change for as long as it says. A leader that cannot renew stops
 * before anybody else may start.
 */
import { systemClock, type Clock } from "../../../core/base/clock.ts";
import type { Log } from "../../../core/base/log.ts";
import { systemRandom, type Random } from "../../../core/base/random.ts";
import type { KubernetesClient } from "./client.ts";
import { isConflict, isNotFound, KubeError } from "./errors.ts";
import { microTime } from "./micro-time.ts";
import { apiVersionOf, collectionPath, objectPath } from "./paths.ts";

export interface LeaderOptions {
  readonly client: Pick<KubernetesClient, "get" | "create" | "replace">;
  readonly namespace: string;
  /** Of the Lease. */
  readonly name: string;
  /** Of this replica, e.g. its pod's name. Never that of another process alive. */
  readonly identity: string;
  readonly log: Log;
  readonly onStarted: () => void;
  readonly onStopped: () => void;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly timing?: LeaderTiming;
}

/** In milliseconds; each shorter than the one before. */
export interface LeaderTiming {
  /** How long a lease that is not renewed still holds. */
  readonly leaseMs: number;
  /** A leader gives up when its last renewal began this long ago. */
  readonly renewDeadlineMs: number;
  readonly retryMs: number;
}

const defaultTiming: LeaderTiming = { leaseMs: 15_000, renewDeadlineMs: 10_000, retryMs: 2_000 };

/** As far as we read and write it. */
interface Lease {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly spec?: {
    readonly holderIdentity?: string;
    readonly leaseDurationSeconds?: number;
    readonly acquireTime?: string;
    readonly renewTime?: string;
    readonly leaseTransitions?: number;
  };
}

export class LeaderElection {
  readonly #options: Required<LeaderOptions>;
  readonly #closing = new AbortController();
  #cancelRetry: (() => void) | undefined;
  #cancelDeadline: (() => void) | undefined;
  /** Monotonic milliseconds until which we lead; undefined while we don't. */
  #leadsUntilMs: number | undefined;
  /** The lease as last seen, and since when it has looked so. */
  #seen: { readonly lease: Lease; readonly sinceMs: number } | undefined;
  #round: Promise<void> = Promise.resolve();
  #lastError = "";
  #isClosing = false;

  constructor(options: LeaderOptions) {
    this.#options = { clock: systemClock, random: systemRandom, timing: defaultTiming, ...options };
  }

  start(): void {
    this.#attempt();
  }

  get isLeader(): boolean {
    return this.#leadsUntilMs !== undefined && this.#options.clock.nowMs() < this.#leadsUntilMs;
  }

  /** Who leads as far as is known; empty when nobody does. */
  get leader(): string {
    return this.#seen?.lease.spec?.holderIdentity ?? "";
  }

  /** Stops leading, and gives the lease up so that another replica needs not wait for its end. */
  async close(): Promise<void> {
    this.#cancelRetry?.();
    this.#isClosing = true;
    this.#stop("closing");
    // A write that is under way is waited for: cut off, it may still make us the leader, whom nobody could replace for long.
    const cancelPatience = this.#options.clock.after(closingPatienceMs, () => this.#closing.abort());
    await this.#round;
    cancelPatience();
    this.#closing.abort();
    const lease = this.#seen?.lease;
    if (lease?.spec?.holderIdentity !== this.#options.identity) return;
    const now = microTime(this.#options.clock.wallMs());
    const spec = { ...lease.spec, holderIdentity: "", leaseDurationSeconds: 1, renewTime: now, acquireTime: now };
    await this.#options.client.replace(this.#path(), { ...lease, spec }, { timeoutMs: 2_000 });
  }

  #attempt(): void {
    const { clock, random, timing } = this.#options;
    const startedMs = clock.nowMs();
    this.#round = this.#acquireOrRenew(startedMs).then(() => {
      if (this.#isClosing) return;
      const delayMs = timing.retryMs * (1 + 0.2 * random());
      this.#cancelRetry = clock.after(delayMs, () => this.#attempt());
    });
  }

  async #acquireOrRenew(startedMs: number): Promise<void> {
    const held = this.#seen?.lease;
    // The leader alone writes: no need to read first.
    const isOurs = this.#leadsUntilMs !== undefined && held?.spec?.holderIdentity === this.#options.identity;
    const written = isOurs ? await this.#replace(held) : await this.#tryAcquire();
    if (this.#isClosing) {
      if (written !== undefined && !(written instanceof KubeError)) this.#observe(written);
      return;
    }
    if (written === undefined) return this.#stop("another replica holds the lease");
    if (written instanceof KubeError) {
      // Somebody else wrote, or our own write was seen though its answer was lost: the next round looks.
      if (isConflict(written) || isNotFound(written)) this.#seen = undefined;
      this.#note(written);
      return;
    }
    this.#lastError = "";
    this.#observe(written);
    this.#lead(startedMs);
  }

  /** @returns undefined while another replica holds the lease. */
  async #tryAcquire(): Promise<Lease | KubeError | undefined> {
    const { client, clock, namespace, name, identity, timing } = this.#options;
    const options = { signal: this.#closing.signal, timeoutMs: timing.renewDeadlineMs / 2 };
    const current = await client.get<Lease>(this.#path(), options);
    if (this.#isClosing) return undefined;
    if (isNotFound(current)) {
      const body = { metadata: { namespace, name } };
      return client.create<Lease>(collectionPath("Lease", namespace), this.#filled(body), options);
    }
    if (current instanceof KubeError) return current;
    this.#observe(current);
    const holder = current.spec?.holderIdentity ?? "";
    const durationMs = (current.spec?.leaseDurationSeconds ?? 0) * 1000;
    const expiresMs = (this.#seen?.sinceMs ?? 0) + durationMs;
    if (holder !== "" && holder !== identity && clock.nowMs() < expiresMs) return undefined;
    return this.#replace(current);
  }

  #replace(lease: Lease): Promise<Lease | KubeError> {
    const options = { signal: this.#closing.signal, timeoutMs: this.#options.timing.renewDeadlineMs / 2 };
    return this.#options.client.replace<Lease>(this.#path(), this.#filled(lease), options);
  }

  /** The lease with us as its holder. Its resourceVersion stays: a write in between is a conflict. */
  #filled(lease: Lease): Lease & { readonly apiVersion: string; readonly kind: string } {
    const { identity, clock, timing } = this.#options;
    const now = microTime(clock.wallMs());
    const same = lease.spec?.holderIdentity === identity;
    const transitions = lease.spec === undefined ? 0 : (lease.spec.leaseTransitions ?? 0) + (same ? 0 : 1);
    return {
      ...lease,
      apiVersion: apiVersionOf("Lease"),
      kind: "Lease",
      spec: {
        ...lease.spec,
        holderIdentity: identity,
        leaseDurationSeconds: Math.max(1, Math.round(timing.leaseMs / 1000)),
        acquireTime: same ? (lease.spec?.acquireTime ?? now) : now,
        renewTime: now,
        leaseTransitions: transitions,
      },
    };
  }

  #observe(lease: Lease): void {
    const same = JSON.stringify(lease.spec) === JSON.stringify(this.#seen?.lease.spec);
    const sinceMs = same && this.#seen !== undefined ? this.#seen.sinceMs : this.#options.clock.nowMs();
    this.#seen = { lease, sinceMs };
  }

  /** @param startedMs when the request that made us leader began: the others count from later than that. */
  #lead(startedMs: number): void {
    const { clock, timing, identity, log, onStarted } = this.#options;
    const untilMs = startedMs + timing.renewDeadlineMs;
    // The answer came too late to be worth anything.
    if (untilMs <= clock.nowMs()) return;
    const began = this.#leadsUntilMs === undefined;
    this.#leadsUntilMs = untilMs;
    this.#cancelDeadline?.();
    this.#cancelDeadline = clock.after(untilMs - clock.nowMs(), () => this.#stop("the lease could not be renewed"));
    if (!began) return;
    log.info({ identity, lease: this.#options.name }, "leading");
    onStarted();
  }

  #stop(reason: string): void {
    this.#cancelDeadline?.();
    if (this.#leadsUntilMs === undefined) return;
    this.#leadsUntilMs = undefined;
    this.#options.log.info(
      { identity: this.#options.identity, lease: this.#options.name, reason },
      "no longer leading",
    );
    this.#options.onStopped();
  }

  #note(error: KubeError): void {
    const { code } = error.type;
    if (code === "kube.aborted" || code === this.#lastError) return;
    this.#lastError = code;
    this.#options.log.warn({ ...error.type, lease: this.#options.name }, "the lease could not be had or renewed");
  }

  #path(): string {
    return objectPath("Lease", this.#options.namespace, this.#options.name);
  }
}

/** How long a write that is under way may hold up the end. */
const closingPatienceMs = 2_000;
