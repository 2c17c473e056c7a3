/**
 * Who reached whom: joins what clients tried, what servers saw and what agents logged.
 *
 * A client's line and the outbound record share the client's own `ip:port`; the two agents' records share a trace id; an inbound record
 * and the server's line share the `ip:port` the server saw. Lines arrive in any order: a request is judged when its client's line is there.
 */
import type { Attempt, CloseRecord, Fact, Served } from "./facts.ts";

/** What is known of one request. */
export interface Observation {
  readonly attempt: Attempt;
  /** Monotonic milliseconds when the client's line was read. */
  readonly heardMs: number;
  readonly served?: Served;
  readonly outbound?: CloseRecord;
  readonly inbound?: CloseRecord;
}

/** Requests remembered; the oldest go first. */
const capacity = 20_000;

export class Ledger {
  readonly #attempts: { readonly attempt: Attempt; readonly heardMs: number }[] = [];
  /** Requests of each client and target, those that are forgotten by now included. */
  readonly #counts = new Map<string, number>();
  readonly #served = new Recent<Served>(capacity);
  readonly #outboundBySource = new Recent<CloseRecord>(capacity);
  readonly #inboundByTrace = new Recent<CloseRecord>(capacity);
  readonly #inboundBySource = new Recent<CloseRecord>(capacity);

  /** @param nowMs monotonic. */
  add(fact: Fact, nowMs: number): void {
    switch (fact.kind) {
      case "attempt":
        this.#attempts.push({ attempt: fact.attempt, heardMs: nowMs });
        this.#counts.set(pairOf(fact.attempt), this.requests(pairOf(fact.attempt)) + 1);
        if (this.#attempts.length > capacity) this.#attempts.splice(0, capacity / 10);
        return;
      case "served":
        this.#served.set(fact.served.id, fact.served);
        return;
      case "closed":
        return this.#addRecord(fact.record);
    }
  }

  /** How often that client asked that target. @param pair `client target`. */
  requests(pair: string): number {
    return this.#counts.get(pair) ?? 0;
  }

  /** The requests of each client and target, newest last. */
  observations(): ReadonlyMap<string, readonly Observation[]> {
    const rows = new Map<string, Observation[]>();
    for (const { attempt, heardMs } of this.#attempts) {
      const key = pairOf(attempt);
      let row = rows.get(key);
      if (row === undefined) rows.set(key, (row = []));
      row.push(this.#observe(attempt, heardMs));
    }
    return rows;
  }

  #observe(attempt: Attempt, heardMs: number): Observation {
    const served = this.#served.get(attempt.id);
    const outbound = attempt.local === undefined ? undefined : this.#outboundBySource.get(attempt.local);
    const inbound =
      outbound === undefined
        ? attempt.local === undefined
          ? undefined
          : this.#inboundBySource.get(attempt.local)
        : this.#inboundByTrace.get(outbound.trace);
    return {
      attempt,
      heardMs,
      ...(served === undefined ? {} : { served }),
      ...(outbound === undefined ? {} : { outbound }),
      ...(inbound === undefined ? {} : { inbound }),
    };
  }

  #addRecord(record: CloseRecord): void {
    if (record.direction === "outbound") return this.#outboundBySource.set(record["src.addr"], record);
    this.#inboundByTrace.set(record.trace, record);
    if (record.protocol === "tcp") this.#inboundBySource.set(record["src.addr"], record);
  }
}

function pairOf({ from, target }: Attempt): string {
  return `${from} ${target}`;
}

/** A map that forgets what was put in first. */
class Recent<Value> {
  readonly #capacity: number;
  readonly #entries = new Map<string, Value>();

  constructor(size: number) {
    this.#capacity = size;
  }

  get(key: string): Value | undefined {
    return this.#entries.get(key);
  }

  set(key: string, value: Value): void {
    this.#entries.delete(key);
    this.#entries.set(key, value);
    if (this.#entries.size <= this.#capacity) return;
    const [oldest] = this.#entries.keys();
    if (oldest !== undefined) this.#entries.delete(oldest);
  }
}
