/**
 * Addresses of endpoints that are known by a name only, looked up when a connection wants one (agent-wire 1.7 step G).
 * Both families are asked for; the decision picks among the answers.
 */
import { Resolver } from "node:dns/promises";
import type { Clock } from "../../core/base/clock.ts";
import { canonicalIp, isLoopback } from "../../core/base/ip.ts";

/** One question to DNS. Rejects with `code` as node:dns does: ENOTFOUND, ENODATA, ETIMEOUT, ... */
export type Lookup = (
  hostname: string,
  family: 4 | 6,
) => Promise<readonly { readonly address: string; readonly ttl: number }[]>;

export interface ResolverModules {
  readonly clock: Clock;
  readonly lookup: Lookup;
  /** Milliseconds until a name counts as not resolved. */
  readonly deadlineMs: number;
}

interface Answer {
  /** Canonical text; empty where the name has no address. */
  readonly addresses: readonly string[];
  /** Monotonic milliseconds. */
  readonly untilMs: number;
}

type Outcome =
  | { readonly kind: "found"; readonly records: Awaited<ReturnType<Lookup>> }
  /** DNS says that there is none. */
  | { readonly kind: "none" }
  /** Nobody could say. */
  | { readonly kind: "failed" };

/** One query per name in flight, whoever asks; answers are kept no longer than DNS allows. */
export class HostResolver {
  readonly #modules: ResolverModules;
  readonly #answers = new Map<string, Answer>();
  readonly #asked = new Map<string, Promise<readonly string[]>>();

  constructor(modules: ResolverModules) {
    this.#modules = modules;
  }

  /** What is known without asking: undefined where nobody asked of late, empty where there is nothing. */
  known(hostname: string): readonly string[] | undefined {
    const answer = this.#answers.get(keyOf(hostname));
    return answer && this.#modules.clock.nowMs() < answer.untilMs ? answer.addresses : undefined;
  }

  /** Settles within the deadline; never rejects. Empty where there is no address, or nobody could say. */
  resolve(hostname: string): Promise<readonly string[]> {
    const known = this.known(hostname);
    if (known !== undefined) return Promise.resolve(known);
    const key = keyOf(hostname);
    let asked = this.#asked.get(key);
    if (asked === undefined) {
      asked = this.#ask(key).finally(() => this.#asked.delete(key));
      this.#asked.set(key, asked);
    }
    return asked;
  }

  async #ask(key: string): Promise<readonly string[]> {
    const [four, six] = await Promise.all([this.#outcome(key, 4), this.#outcome(key, 6)]);
    const records = [four, six].flatMap((outcome) => (outcome.kind === "found" ? outcome.records : []));
    const addresses = [...new Set(records.flatMap(({ address }) => usable(address)))];
    if (addresses.length > 0) {
      const ttl = Math.min(longestTtlSeconds, ...records.map((record) => record.ttl));
      return this.#keep(key, addresses, ttl * 1_000);
    }
    const isCertain = four.kind !== "failed" && six.kind !== "failed";
    if (isCertain) return this.#keep(key, [], nothingThereMs);
    // A name server that is away for a moment does not move anybody: what was true last is the best guess.
    return this.#keep(key, this.#answers.get(key)?.addresses ?? [], nobodyKnowsMs);
  }

  #outcome(key: string, family: 4 | 6): Promise<Outcome> {
    const { clock, lookup, deadlineMs } = this.#modules;
    return new Promise((resolve) => {
      const settle = (outcome: Outcome): void => {
        cancel();
        resolve(outcome);
      };
      const cancel = clock.after(deadlineMs, () => resolve({ kind: "failed" }));
      lookup(key, family).then(
        (records) => settle({ kind: "found", records }),
        (error: unknown) => settle({ kind: isNone(error) ? "none" : "failed" }),
      );
    });
  }

  #keep(key: string, addresses: readonly string[], forMs: number): readonly string[] {
    // Written anew, it is the youngest; the first in the map is the oldest.
    this.#answers.delete(key);
    this.#answers.set(key, { addresses, untilMs: this.#modules.clock.nowMs() + forMs });
    const [oldest] = this.#answers.keys();
    if (this.#answers.size > mostAnswers && oldest !== undefined) this.#answers.delete(oldest);
    return addresses;
  }
}

/**
 * Asks the name servers of resolv.conf as it is at that moment. No search domains: names in the mesh are whole.
 * @param servers other name servers, `address:port`.
 */
export function dnsLookup(servers?: readonly string[]): Lookup {
  return (hostname, family) => {
    const resolver = new Resolver({ timeout: 2_000, tries: 2 });
    if (servers) resolver.setServers(servers);
    return family === 4 ? resolver.resolve4(hostname, { ttl: true }) : resolver.resolve6(hostname, { ttl: true });
  };
}

/** A name outside must not lead into the pod that asks. */
function usable(address: string): string[] {
  const canonical = canonicalIp(address);
  return canonical === undefined || isLoopback(canonical) || unspecified.has(canonical) ? [] : [canonical];
}

function isNone(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "ENOTFOUND" || code === "ENODATA";
}

/** As DNS compares names. */
function keyOf(hostname: string): string {
  return hostname.toLowerCase().replace(/\.$/, "");
}

const unspecified: ReadonlySet<string> = new Set(["0.0.0.0", "::"]);
const mostAnswers = 4_096;
const longestTtlSeconds = 3_600;
const nothingThereMs = 5_000;
const nobodyKnowsMs = 1_000;
