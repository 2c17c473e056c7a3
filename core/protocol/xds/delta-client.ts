/**
 * The client's half of delta discovery (envoy.service.discovery.v3, incremental): wildcard subscriptions to a few types.
 * Remembers name and version of what is in force, so that a new stream begins with the difference; never forgets on a disconnect.
 */
import type { DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node } from "../generated/discovery.ts";
import { updateOf } from "./response-reader.ts";

/** A response, to be applied resource by resource and then acknowledged. */
export interface DeltaUpdate {
  readonly typeUrl: string;
  readonly nonce: string;
  readonly resources: readonly DeltaResource[];
  /** Names that exist no more; a name that is not held is nothing. */
  readonly removed: readonly string[];
}

export interface DeltaResource {
  readonly name: string;
  readonly version: string;
  /** The serialized message of that type. */
  readonly bytes: Uint8Array;
}

/** A resource that could not be used: what was in force under its name stays. */
export interface Rejection {
  readonly name: string;
  readonly reason: string;
}

/** The NACK's text goes into logs and status of the server: no more than this of it. */
const longestDetail = 4096;

export class DeltaClient {
  readonly #node: Node;
  /** Per type, in order of subscription: the version in force by name. "": one that has only been refused so far. */
  readonly #held: ReadonlyMap<string, Map<string, string>>;
  readonly #answered = new Set<string>();
  #pending = new Map<string, DeltaUpdate>();

  /** @param options.types type URLs in the order they are to be asked for. */
  constructor(options: { readonly node: Node; readonly types: readonly string[] }) {
    this.#node = options.node;
    this.#held = new Map(options.types.map((typeUrl) => [typeUrl, new Map<string, string>()]));
  }

  /** Whether every type has had a response that was answered, by ACK or NACK, on any stream so far. */
  get complete(): boolean {
    return this.#answered.size === this.#held.size;
  }

  /** How many resources of a type are held. */
  held(typeUrl: string): number {
    return this.#held.get(typeUrl)?.size ?? 0;
  }

  /** What to send first on a new stream: one request per type, with the versions held. */
  connected(): DeltaDiscoveryRequest[] {
    this.#pending = new Map();
    return [...this.#held].map(([typeUrl, versions]) => ({
      ...emptyRequest(typeUrl),
      node: this.#node,
      initialResourceVersions: Object.fromEntries(versions),
    }));
  }

  /** The update in a response. A type that was not asked for is handed on too: acknowledge it and do nothing else. */
  decode(response: DeltaDiscoveryResponse | DeltaUpdate): DeltaUpdate {
    const update = "removed" in response ? response : updateOf(response);
    this.#pending.set(update.nonce, update);
    return update;
  }

  /**
   * The ACK, or with rejections the NACK, of an update that has been applied everywhere. A refused resource keeps the version
   * in force; one that has none is remembered without, so that the next stream is sent it again and is told when it goes.
   */
  acknowledge(nonce: string, rejected: readonly Rejection[]): DeltaDiscoveryRequest {
    const turns = this.acknowledgeInTurns(nonce, rejected);
    for (;;) {
      const next = turns.next();
      if (next.done === true) return next.value;
    }
  }

  /** The same a little at a time, for whoever has other things to do in between. */
  *acknowledgeInTurns(nonce: string, rejected: readonly Rejection[]): Generator<undefined, DeltaDiscoveryRequest> {
    const update = this.#pending.get(nonce);
    this.#pending.delete(nonce);
    if (update !== undefined) yield* this.#remember(update, rejected);
    const request = { ...emptyRequest(update?.typeUrl ?? ""), responseNonce: nonce };
    if (rejected.length === 0) return request;
    const message = rejected.map(({ name, reason }) => `${name}: ${reason}`).join("; ");
    return { ...request, errorDetail: { code: 0, message: message.slice(0, longestDetail), details: [] } };
  }

  *#remember(update: DeltaUpdate, rejected: readonly Rejection[]): Generator<undefined, void> {
    const held = this.#held.get(update.typeUrl);
    if (held === undefined) return;
    this.#answered.add(update.typeUrl);
    const refused = new Set(rejected.map(({ name }) => name));
    for (const name of update.removed) held.delete(name);
    let remembered = 0;
    for (const { name, version } of update.resources) {
      held.set(name, refused.has(name) ? (held.get(name) ?? "") : version);
      if (++remembered % rememberedInTurn === 0) yield undefined;
    }
  }
}

/** A third of a millisecond. */
const rememberedInTurn = 1_000;

function emptyRequest(typeUrl: string): DeltaDiscoveryRequest {
  return {
    node: undefined,
    typeUrl,
    resourceNamesSubscribe: [],
    resourceNamesUnsubscribe: [],
    initialResourceVersions: {},
    responseNonce: "",
    errorDetail: undefined,
  };
}
