/**
 * One certificate per identity: fetched once however many wait for it, renewed at half of its life, served to its end while
 * the authority is away.
 *
 * Two things are known of an identity, each with one writer: the certificate in hand (`held`) and the work on the next one
 * (`work`). At most eight fetches run at a time; a connection that waits goes before a prefetch, a prefetch before a renewal.
 * After a failure without a certificate in hand, callers get the same error at once until the next attempt; one of them may
 * bring that attempt forward, once, so that a short outage doesn't refuse a new identity for the whole pause.
 */
import { Backoff } from "../../../core/base/backoff.ts";
import type { Clock } from "../../../core/base/clock.ts";
import { messageOf } from "../../../core/base/errors.ts";
import type { Log } from "../../../core/base/log.ts";
import type { Random } from "../../../core/base/random.ts";
import { formatIdentity, type Identity } from "../../../core/protocol/spiffe/identity.ts";
import { CertificateError, type CertificateProvider, type WorkloadCertificate } from "./certificate.ts";
import { fetchBackoff, nextLook, renewalDue, retryDelay } from "./renewal-schedule.ts";

/** Who asks: a connection that waits, a prefetch for a pod that has just come, a scheduled renewal. */
export type FetchPriority = "realtime" | "warmup" | "background";

export type CertificateChange =
  | { readonly kind: "issued"; readonly certificate: WorkloadCertificate }
  | { readonly kind: "expired"; readonly identity: Identity } // nothing is in hand any more; its connections end
  | { readonly kind: "forgotten"; readonly identity: Identity };

/** One row of the admin dump: no key, no PEM. */
export interface CertificateRow {
  readonly identity: string;
  readonly held?: { readonly serialNumber: string; readonly notBefore: number; readonly notAfter: number };
  readonly work: Work["phase"];
  /** Milliseconds since 1970 of the next attempt, when one is scheduled. */
  readonly nextAttempt?: number;
  readonly lastError?: CertificateError["type"];
}

export interface CertificateManagerOptions {
  readonly provider: CertificateProvider;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Milliseconds one fetch may take. Default 10,000. */
  readonly fetchTimeoutMs?: number;
}

type Work =
  | { readonly phase: "scheduled"; readonly due: Due; readonly cancel: () => void }
  | { readonly phase: "queued"; readonly priority: FetchPriority }
  | { readonly phase: "fetching"; readonly abort: AbortController; readonly cancelTimeout: () => void }
  | { readonly phase: "paused"; readonly due: Due; readonly cancel: () => void; readonly early: EarlyRetry };

/** A renewal comes by the calendar. A pause lasts as long as it lasts, though the calendar be set to another year meanwhile. */
type Due = { readonly by: "wall" | "monotonic"; readonly ms: number };

/** A paused identity may be tried before its time once the first pause has passed, and once only. */
type EarlyRetry = { readonly kind: "from"; readonly nowMs: number } | { readonly kind: "spent" };

interface Entry {
  readonly identity: Identity;
  readonly uri: string;
  readonly backoff: Backoff;
  readonly waiters: ((result: WorkloadCertificate | CertificateError) => void)[];
  held: { readonly certificate: WorkloadCertificate; readonly cancelExpiry: () => void } | undefined;
  work: Work;
  lastError: CertificateError | undefined;
  broughtForward: boolean;
}

export class CertificateManager {
  readonly #options: Required<CertificateManagerOptions>;
  readonly #entries = new Map<string, Entry>();
  /** Waiting for a slot, first come first served within a priority. */
  readonly #queues: Record<FetchPriority, Set<Entry>> = {
    realtime: new Set(),
    warmup: new Set(),
    background: new Set(),
  };
  readonly #listeners = new Set<(change: CertificateChange) => void>();
  #inFlight = 0;

  constructor(options: CertificateManagerOptions) {
    this.#options = { fetchTimeoutMs: 10_000, ...options };
  }

  /**
   * The certificate in hand, or the one being fetched. Settles with the error of the last attempt while a pause runs.
   * @param priority `realtime` when a connection waits for the answer.
   */
  certificate(identity: Identity, priority: FetchPriority): Promise<WorkloadCertificate | CertificateError> {
    const uri = formatIdentity(identity);
    const known = this.#entries.get(uri);
    if (known === undefined) {
      const queued = this.#queues.warmup.size;
      if (priority === "warmup" && queued >= warmupsQueued) {
        return Promise.resolve(new CertificateError({ code: "certificate.queue-full", identity: uri, queued }));
      }
      return this.#wait(this.#enter(identity, uri, priority));
    }
    const inHand = this.#inHand(known);
    if (inHand !== undefined) return Promise.resolve(inHand);
    switch (known.work.phase) {
      case "queued":
        this.#raise(known, priority);
        return this.#wait(known);
      case "fetching":
        return this.#wait(known);
      case "scheduled": // the certificate ended before its renewal was looked at: a machine that slept
        known.work.cancel();
        this.#enqueue(known, priority);
        return this.#wait(known);
      case "paused": {
        const { early, cancel } = known.work;
        const mayTry = early.kind === "from" && this.#options.clock.nowMs() >= early.nowMs;
        if (!mayTry || priority !== "realtime")
          return Promise.resolve(known.lastError ?? internalBug(uri, "paused without an error"));
        cancel();
        known.broughtForward = true;
        this.#enqueue(known, priority);
        return this.#wait(known);
      }
    }
  }

  /** The certificate in hand, without waiting or fetching. */
  current(identity: Identity): WorkloadCertificate | undefined {
    const entry = this.#entries.get(formatIdentity(identity));
    return entry === undefined ? undefined : this.#inHand(entry);
  }

  /** Calls `listener` after every change; the returned function ends that. */
  onChange(listener: (change: CertificateChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The last pod of this identity has left the node: the key is dropped, a running fetch ended. */
  forget(identity: Identity): void {
    const uri = formatIdentity(identity);
    const entry = this.#entries.get(uri);
    if (entry === undefined) return;
    this.#entries.delete(uri);
    entry.held?.cancelExpiry();
    entry.held = undefined;
    switch (entry.work.phase) {
      case "queued":
        this.#queues[entry.work.priority].delete(entry);
        break;
      case "fetching":
        entry.work.cancelTimeout();
        entry.work.abort.abort();
        this.#inFlight -= 1;
        break;
      case "scheduled":
      case "paused":
        entry.work.cancel();
        break;
    }
    this.#answer(entry, new CertificateError({ code: "certificate.forgotten", identity: uri }));
    this.#announce({ kind: "forgotten", identity });
    this.#fill();
  }

  /** Forgets everything. */
  close(): void {
    for (const entry of [...this.#entries.values()]) this.forget(entry.identity);
  }

  dump(): CertificateRow[] {
    return [...this.#entries.values()].map((entry) => rowOf(entry, this.#options.clock));
  }

  #enter(identity: Identity, uri: string, priority: FetchPriority): Entry {
    const entry: Entry = {
      identity,
      uri,
      backoff: new Backoff(fetchBackoff, this.#options.random),
      waiters: [],
      held: undefined,
      work: { phase: "queued", priority },
      lastError: undefined,
      broughtForward: false,
    };
    this.#entries.set(uri, entry);
    this.#enqueue(entry, priority);
    return entry;
  }

  #wait(entry: Entry): Promise<WorkloadCertificate | CertificateError> {
    return new Promise((resolve) => entry.waiters.push(resolve));
  }

  #enqueue(entry: Entry, priority: FetchPriority): void {
    entry.work = { phase: "queued", priority };
    this.#queues[priority].add(entry);
    this.#fill();
  }

  #raise(entry: Entry, priority: FetchPriority): void {
    if (entry.work.phase !== "queued" || rank[priority] <= rank[entry.work.priority]) return;
    this.#queues[entry.work.priority].delete(entry);
    this.#enqueue(entry, priority);
  }

  /** Starts as many fetches as there are free slots. */
  #fill(): void {
    while (this.#inFlight < fetchesInFlight) {
      const queue = [this.#queues.realtime, this.#queues.warmup, this.#queues.background].find(({ size }) => size > 0);
      const entry = queue?.values().next().value;
      if (queue === undefined || entry === undefined) return;
      queue.delete(entry);
      this.#fetch(entry);
    }
  }

  #fetch(entry: Entry): void {
    const { provider, clock, fetchTimeoutMs: afterMs } = this.#options;
    const abort = new AbortController();
    const timedOut = (): void =>
      this.#settle(entry, abort, new CertificateError({ code: "certificate.timeout", identity: entry.uri, afterMs }));
    entry.work = { phase: "fetching", abort, cancelTimeout: clock.after(afterMs, timedOut) };
    this.#inFlight += 1;
    provider.fetch(entry.identity, abort.signal).then(
      (result) => this.#settle(entry, abort, result),
      (thrown: unknown) => this.#settle(entry, abort, internalBug(entry.uri, messageOf(thrown))),
    );
  }

  /** The one end of a fetch. What comes after a timeout or a `forget` is no longer wanted. */
  #settle(entry: Entry, abort: AbortController, result: WorkloadCertificate | CertificateError): void {
    if (entry.work.phase !== "fetching" || entry.work.abort !== abort || abort.signal.aborted) return;
    entry.work.cancelTimeout();
    abort.abort();
    this.#inFlight -= 1;
    const checked = result instanceof CertificateError ? result : this.#check(entry, result);
    if (checked instanceof CertificateError) this.#failed(entry, checked);
    else this.#issued(entry, checked);
    this.#fill();
  }

  #check(entry: Entry, certificate: WorkloadCertificate): WorkloadCertificate | CertificateError {
    const bad = (problem: string): CertificateError =>
      new CertificateError({ code: "certificate.bad-answer", identity: entry.uri, problem });
    const answered = formatIdentity(certificate.identity);
    if (answered !== entry.uri) return bad(`the certificate is for ${answered}`);
    if (certificate.notAfter <= this.#options.clock.wallMs()) return bad("the certificate has already ended");
    return certificate;
  }

  #issued(entry: Entry, certificate: WorkloadCertificate): void {
    const { clock, log, random } = this.#options;
    entry.backoff.reset();
    entry.lastError = undefined;
    entry.broughtForward = false;
    entry.held?.cancelExpiry();
    entry.held = { certificate, cancelExpiry: this.#at(certificate.notAfter, () => this.#expired(entry, certificate)) };
    const { serialNumber, notAfter } = certificate;
    const receivedMs = clock.wallMs();
    const due = Math.max(renewalDue({ receivedMs, notAfter }, random), receivedMs + soonestRenewalMs);
    this.#schedule(entry, Math.min(due, notAfter));
    log.info({ identity: entry.uri, serialNumber, notAfter: new Date(notAfter).toISOString() }, "certificate issued");
    this.#answer(entry, certificate);
    this.#announce({ kind: "issued", certificate });
  }

  #failed(entry: Entry, error: CertificateError): void {
    const { clock, log } = this.#options;
    const nowMs = clock.nowMs();
    const inHand = this.#inHand(entry);
    const pauseMs = entry.backoff.next();
    entry.lastError = error;
    if (inHand !== undefined) {
      const wallMs = clock.wallMs();
      const delayMs = retryDelay(pauseMs, inHand.notAfter, wallMs);
      const cancel = clock.after(delayMs, () => this.#enqueue(entry, "background"));
      entry.work = { phase: "scheduled", due: { by: "monotonic", ms: nowMs + delayMs }, cancel };
      const leftMs = inHand.notAfter - wallMs;
      log.warn(
        { error: error.type, leftMs, retryMs: delayMs },
        "certificate renewal failed; the one in hand is served to its end",
      );
      return;
    }
    const early: EarlyRetry = entry.broughtForward
      ? { kind: "spent" }
      : { kind: "from", nowMs: nowMs + fetchBackoff.firstMs };
    const cancel = clock.after(pauseMs, () => this.#retry(entry));
    entry.work = { phase: "paused", due: { by: "monotonic", ms: nowMs + pauseMs }, early, cancel };
    log.error({ error: error.type, retryMs: pauseMs }, "no certificate");
    this.#answer(entry, error);
  }

  /** @param due milliseconds since 1970. */
  #schedule(entry: Entry, due: number): void {
    const cancel = this.#at(due, () => this.#enqueue(entry, "background"));
    entry.work = { phase: "scheduled", due: { by: "wall", ms: due }, cancel };
  }

  #retry(entry: Entry): void {
    entry.broughtForward = false;
    this.#enqueue(entry, "background");
  }

  #expired(entry: Entry, certificate: WorkloadCertificate): void {
    if (entry.held?.certificate !== certificate) return;
    entry.held = undefined;
    this.#options.log.error(
      { identity: entry.uri, error: entry.lastError?.type },
      "certificate ended before it could be renewed",
    );
    this.#announce({ kind: "expired", identity: entry.identity });
  }

  #inHand(entry: Entry): WorkloadCertificate | undefined {
    const { held } = entry;
    if (held === undefined) return undefined;
    if (held.certificate.notAfter > this.#options.clock.wallMs()) return held.certificate;
    held.cancelExpiry();
    this.#expired(entry, held.certificate);
    return undefined;
  }

  /** Calls `fire` when the wall clock reaches `due`. */
  #at(due: number, fire: () => void): () => void {
    const { clock } = this.#options;
    let cancel = clock.after(nextLook(due, clock.wallMs()), look);
    return () => cancel();
    function look(): void {
      const wallMs = clock.wallMs();
      if (wallMs >= due) fire();
      else cancel = clock.after(nextLook(due, wallMs), look);
    }
  }

  #answer(entry: Entry, result: WorkloadCertificate | CertificateError): void {
    for (const resolve of entry.waiters.splice(0)) resolve(result);
  }

  #announce(change: CertificateChange): void {
    for (const listener of this.#listeners) listener(change);
  }
}

function rowOf({ uri, held, work, lastError }: Entry, clock: Clock): CertificateRow {
  return {
    identity: uri,
    work: work.phase,
    ...(held === undefined
      ? {}
      : {
          held: {
            serialNumber: held.certificate.serialNumber,
            notBefore: held.certificate.notBefore,
            notAfter: held.certificate.notAfter,
          },
        }),
    ...(work.phase === "scheduled" || work.phase === "paused" ? { nextAttempt: wallMsOf(work.due, clock) } : {}),
    ...(lastError === undefined ? {} : { lastError: lastError.type }),
  };
}

function wallMsOf({ by, ms }: Due, clock: Clock): number {
  return by === "wall" ? ms : clock.wallMs() + ms - clock.nowMs();
}

function internalBug(identity: string, problem: string): CertificateError {
  return new CertificateError({ code: "certificate.internal-bug", identity, problem });
}

const rank: Record<FetchPriority, number> = { background: 0, warmup: 1, realtime: 2 };
const fetchesInFlight = 8;
const warmupsQueued = 256;
/** A certificate with a life of next to nothing, or a clock that is far off, must not make a loop of renewals. */
const soonestRenewalMs = 500;
