/** What one stream wants of one type, and how far it has been told: the per-type part of DeltaServer. */
import type { DeltaDiscoveryRequest, DeltaDiscoveryResponse } from "../generated/discovery.ts";
import type { DeltaResource } from "./delta-client.ts";
import type { ResourceLog } from "./resource-log.ts";

export class Subscription {
  readonly typeUrl: string;
  readonly log: ResourceLog;
  /** Nonce of the response that awaits its ACK or NACK. */
  outstanding: string | undefined;
  /** What the client said of the last response it answered. */
  lastAnswer: { readonly nonce: string; readonly rejected?: string } | undefined;
  #wildcard = false;
  readonly #names = new Set<string>();
  /** The first response is owed, even an empty one: versions the client said it holds. */
  #initial: ReadonlyMap<string, string> | undefined;
  /** Sent, or noted below, up to this batch of the log. */
  #cursor = 0;
  /** Names to be told next: what is new, changed or was asked for (even if there is nothing under it), and what is gone. */
  #due = new Set<string>();
  #gone = new Set<string>();

  /** @param request the first of its type on this stream: without names it is for everything. */
  constructor(request: DeltaDiscoveryRequest, log: ResourceLog) {
    this.typeUrl = request.typeUrl;
    this.log = log;
    this.#initial = new Map(Object.entries(request.initialResourceVersions));
    this.#wildcard = request.resourceNamesSubscribe.length === 0;
    this.update(request);
  }

  get wildcard(): boolean {
    return this.#wildcard;
  }

  /** Explicitly named resources. */
  get names(): ReadonlySet<string> {
    return this.#names;
  }

  /** Whether removals have been forgotten that this client may not know of. */
  get tooFarBehind(): boolean {
    return this.#initial === undefined && this.#cursor < this.log.floor;
  }

  /** Names added and taken away; `*` stands for everything. @returns whether it changed anything. */
  update(request: DeltaDiscoveryRequest): boolean {
    const { resourceNamesSubscribe: added, resourceNamesUnsubscribe: dropped } = request;
    this.#catchUp();
    for (const name of added) {
      if (name === "*") {
        if (!this.#wildcard) this.#initial ??= new Map();
        this.#wildcard = true;
      } else {
        this.#names.add(name);
        this.#due.add(name);
      }
    }
    for (const name of dropped) {
      if (name === "*") this.#wildcard = false;
      this.#names.delete(name);
      if (!this.#wildcard) this.#due.delete(name);
    }
    return added.length + dropped.length > 0;
  }

  /** Whether new or changed resources (or an answer to a subscription) are to be sent. */
  hasChanges(): boolean {
    this.#catchUp();
    return this.#initial !== undefined || this.#due.size > 0;
  }

  hasRemovals(): boolean {
    this.#catchUp();
    return this.#gone.size > 0;
  }

  /** The next response; what it says counts as told. @param part removals may have to wait for other types. */
  respond(nonce: string, part: "changes" | "removals" | "both"): DeltaDiscoveryResponse {
    this.#catchUp();
    const changed = part === "removals" ? [] : this.#takeChanges();
    const removed = part === "changes" ? [] : this.#takeRemovals();
    this.outstanding = nonce;
    return {
      systemVersionInfo: String(this.log.sequence),
      typeUrl: this.typeUrl,
      nonce,
      resources: changed.map(({ name, version, bytes }) => ({
        name,
        version,
        aliases: [],
        resource: { typeUrl: this.typeUrl, value: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length) },
        ttl: undefined,
      })),
      removedResources: removed,
    };
  }

  /** Notes what the log says since the cursor. */
  #catchUp(): void {
    if (this.#initial !== undefined) return;
    if (this.#cursor === this.log.sequence) return;
    const { changed, removed } = this.log.since(this.#cursor);
    this.#cursor = this.log.sequence;
    for (const { name } of changed) if (this.#wants(name)) this.#due.add(name);
    for (const name of removed) if (this.#wants(name)) this.#gone.add(name);
  }

  #takeChanges(): DeltaResource[] {
    const changed = new Map<string, DeltaResource>();
    if (this.#initial !== undefined) {
      const difference = this.log.difference(this.#initial);
      for (const resource of difference.changed) if (this.#wants(resource.name)) changed.set(resource.name, resource);
      for (const name of difference.removed) this.#gone.add(name);
    }
    for (const name of this.#due) {
      const resource = this.log.resource(name);
      if (resource === undefined) this.#gone.add(name);
      else if (this.#initial?.get(name) !== resource.version) changed.set(name, resource);
    }
    if (this.#initial !== undefined) this.#cursor = this.log.sequence;
    this.#initial = undefined;
    this.#due = new Set();
    return [...changed.values()];
  }

  /** What has come back meanwhile is not gone. */
  #takeRemovals(): string[] {
    const removed = [...this.#gone].filter((name) => this.log.resource(name) === undefined);
    this.#gone = new Set();
    return removed;
  }

  #wants(name: string): boolean {
    return this.#wildcard || this.#names.has(name);
  }
}
