/**
 * The knowledge of what objects of one kind exist, kept by list and watch; without I/O. Ask `next` what is to be done, do
 * it, and report what came of it: `page` or `listFailed`; `event`s and then `watchEnded`; `waited`. What is reported late,
 * for a step that is no longer asked for, changes nothing.
 *
 * Whatever the connection and the server do, the deltas add up to the server's truth: an event seen twice or late yields
 * nothing, and a new list yields the removals that no event told of.
 */
import { Backoff } from "../../../core/base/backoff.ts";
import type { Random } from "../../../core/base/random.ts";
import { isRecord } from "../fields.ts";
import { statusError, type KubeList } from "./client.ts";
import { KubeError, retryAfterOf, statusOf } from "./errors.ts";
import { compareVersions, identityOf, keyOf, type RawIdentity, type RawObject, type Stamp } from "./raw-object.ts";

export type RawDelta =
  | { readonly op: "put"; readonly key: string; readonly object: RawObject }
  | { readonly op: "removed"; readonly key: string };

export type ReflectorStep =
  /** `limit` 0: the whole list in one answer. */
  | { readonly do: "list"; readonly limit: number; readonly continue: string | undefined }
  | { readonly do: "watch"; readonly resourceVersion: string }
  | { readonly do: "wait"; readonly ms: number };

/** Why it is not watching, if it should be. */
export type ReflectorTrouble =
  | { readonly kind: "absent" } // the server has no such kind: no CRD
  | { readonly kind: "failing"; readonly error: KubeError };

interface Listing {
  readonly phase: "listing";
  continue: string | undefined;
  /** Keys of this list so far. */
  readonly seen: Set<string>;
  /** The server's history is not the one we know (restored from a backup): equal versions say nothing. */
  distrusted: boolean;
}

interface Watching {
  readonly phase: "watching";
}

interface Waiting {
  readonly phase: "waiting";
  readonly ms: number;
  readonly then: Listing | Watching;
}

/** At most this many uids of deleted objects are remembered against late events. */
const tombstoneLimit = 4096;
/** A watch that was refused so often in a row is given up for a new list. */
const refusalsBeforeList = 3;
/** Never wait longer for a Retry-After than this, in milliseconds. */
const retryAfterCapMs = 60_000;

export class ReflectorCore {
  readonly #random: Random;
  readonly #pageSize: number;
  readonly #held = new Map<string, Stamp>();
  readonly #tombstones = new Set<string>();
  readonly #failures: Backoff;
  readonly #absence: Backoff;
  #state: Listing | Watching | Waiting = newListing();
  /** Where the watch goes on; empty before the first list. */
  #resourceVersion = "";
  /** Of the last list: whatever is not newer is in it. */
  #listVersion = "";
  #limit: number;
  #refusals = 0;
  #expiredPages = 0;
  #isSynced = false;
  #isSuspectedAbsent = false;
  #trouble: ReflectorTrouble | undefined;
  #lists = 0;
  #missed = 0;
  #malformed = 0;

  /** @param pageSize objects per page. */
  constructor(random: Random, pageSize = 500) {
    this.#random = random;
    this.#pageSize = pageSize;
    this.#limit = pageSize;
    this.#failures = new Backoff({ firstMs: 200, capMs: 30_000, jitter: 0.2 }, random);
    this.#absence = new Backoff({ firstMs: 1_000, capMs: 25_000, jitter: 0.2 }, random);
  }

  next(): ReflectorStep {
    const state = this.#state;
    switch (state.phase) {
      case "listing":
        return { do: "list", limit: this.#limit, continue: state.continue };
      case "watching":
        return { do: "watch", resourceVersion: this.#resourceVersion };
      case "waiting":
        return { do: "wait", ms: state.ms };
    }
  }

  /** Everything that was there at the start has been reported, or there is no such kind. */
  get isSynced(): boolean {
    return this.#isSynced;
  }

  get isWatching(): boolean {
    return this.#state.phase === "watching";
  }

  get trouble(): ReflectorTrouble | undefined {
    return this.#trouble;
  }

  /** Counts since the start; `missed` are changes that a list told of though the watch had passed them: should stay 0. */
  get counts(): { objects: number; lists: number; missed: number; malformed: number } {
    return { objects: this.#held.size, lists: this.#lists, missed: this.#missed, malformed: this.#malformed };
  }

  /** The version that is held of an object. */
  stamp(key: string): Stamp | undefined {
    return this.#held.get(key);
  }

  /** One page of the list. Puts come with their page, removals with the last one. */
  page(list: KubeList<unknown>): RawDelta[] {
    const state = this.#state;
    if (state.phase !== "listing") return [];
    const resourceVersion = list.metadata.resourceVersion ?? "";
    if (state.continue === undefined) {
      const order = compareVersions(resourceVersion, this.#resourceVersion);
      state.distrusted = order !== undefined && order < 0;
      // Deleted objects stay so, but a restored server may have them again.
      this.#tombstones.clear();
    }
    const deltas = list.items.flatMap((item) => this.#listed(state, item));
    const next = list.metadata.continue ?? "";
    if (next !== "") {
      state.continue = next;
      return deltas;
    }
    for (const key of this.#held.keys()) {
      if (state.seen.has(key)) continue;
      this.#held.delete(key);
      deltas.push({ op: "removed", key });
    }
    this.#lists++;
    this.#resourceVersion = resourceVersion;
    this.#listVersion = resourceVersion;
    this.#isSynced = true;
    this.#isSuspectedAbsent = false;
    this.#trouble = undefined;
    this.#expiredPages = 0;
    this.#limit = this.#pageSize;
    this.#absence.reset();
    // A server that lists well and refuses every watch must not be listed in a loop.
    if (this.#refusals === 0) this.#failures.reset();
    this.#state = { phase: "watching" };
    return deltas;
  }

  listFailed(error: KubeError): RawDelta[] {
    const state = this.#state;
    if (state.phase !== "listing") return [];
    switch (error.type.code) {
      case "kube.not-found":
        return this.#absent();
      case "kube.gone":
        // The pages took longer than their token lives: at the second time all at once.
        if (state.continue !== undefined) {
          this.#expiredPages++;
          if (this.#expiredPages > 1) this.#limit = 0;
        }
        this.#wait(error, newListing());
        return [];
      case "kube.too-large":
        this.#limit = Math.max(1, Math.floor((this.#limit === 0 ? this.#pageSize : this.#limit) / 4));
        this.#wait(error, newListing());
        return [];
      default:
        this.#wait(error, state);
        return [];
    }
  }

  /** One line of the watch, parsed; undefined for a line that is no JSON or too long. */
  event(event: unknown): RawDelta[] {
    if (this.#state.phase !== "watching") return [];
    const type = isRecord(event) ? event["type"] : undefined;
    const object = isRecord(event) ? event["object"] : undefined;
    if (type === "ERROR") {
      this.#refused(eventError(object));
      return [];
    }
    const identity = identityOf(isRecord(object) && type === "BOOKMARK" ? nameless(object) : object);
    switch (identity === undefined ? undefined : type) {
      case "BOOKMARK":
        this.#progress(identity?.resourceVersion ?? "");
        return [];
      case "ADDED":
      case "MODIFIED":
      case "DELETED": {
        if (identity === undefined || !isRecord(object)) return [];
        this.#progress(identity.resourceVersion);
        return type === "DELETED" ? this.#deleted(identity) : this.#changed(identity, object);
      }
      default: {
        // An event is lost: only a list can tell what it was.
        this.#malformed++;
        const reason = "a line of the watch could not be understood";
        this.#wait(new KubeError({ code: "kube.malformed", method: "GET", path: "", reason }), newListing());
        return [];
      }
    }
  }

  /** The server has said yes to the watch. */
  watchOpened(): void {
    if (this.#state.phase === "watching") this.#trouble = undefined;
  }

  /**
   * @param error undefined when the server ended the watch in order.
   * @param lastedMs since the server had said yes; 0 if it never did.
   */
  watchEnded(error: KubeError | undefined, lastedMs: number): void {
    if (this.#state.phase !== "watching") return;
    if (lastedMs >= 1_000) this.#calmDown();
    if (error !== undefined) return this.#refused(error);
    // A server that ends every watch at once would be asked in a loop.
    if (lastedMs < 1_000) this.#state = { phase: "waiting", ms: this.#failures.next(), then: { phase: "watching" } };
  }

  waited(): void {
    if (this.#state.phase === "waiting") this.#state = this.#state.then;
  }

  /** Asks for a new list, whatever the watch says. */
  relist(): void {
    if (this.#state.phase === "watching") this.#state = newListing();
  }

  /** An object as the server answered to our own write: as good as an event, and earlier. */
  written(object: unknown): RawDelta[] {
    const identity = identityOf(object);
    const held = identity === undefined ? undefined : this.#held.get(keyOf(identity));
    if (identity === undefined || held?.uid !== identity.uid || !isRecord(object)) return [];
    return this.#changed(identity, object);
  }

  #listed(state: Listing, item: unknown): RawDelta[] {
    const identity = identityOf(item);
    if (identity === undefined || !isRecord(item)) {
      this.#malformed++;
      return [];
    }
    const key = keyOf(identity);
    state.seen.add(key);
    const held = this.#held.get(key);
    const { uid, resourceVersion } = identity;
    if (held?.uid === uid && held.resourceVersion === resourceVersion && resourceVersion !== "" && !state.distrusted)
      return [];
    const reached = compareVersions(resourceVersion, this.#resourceVersion);
    if (this.#isSynced && !state.distrusted && reached !== undefined && reached <= 0 && !isOlder(identity, held))
      this.#missed++;
    // Our own write, answered after the list was taken.
    if (!state.distrusted && held?.uid === uid && isOlder(identity, held)) return [];
    return this.#put(identity, item, held);
  }

  #changed(identity: RawIdentity, object: RawObject): RawDelta[] {
    const held = this.#held.get(keyOf(identity));
    if (this.#tombstones.has(identity.uid)) return [];
    const sinceList = compareVersions(identity.resourceVersion, this.#listVersion);
    if (sinceList !== undefined && sinceList <= 0) return [];
    if (held?.uid === identity.uid && held.resourceVersion === identity.resourceVersion && held.resourceVersion !== "")
      return [];
    return isOlder(identity, held) ? [] : this.#put(identity, object, held);
  }

  #deleted(identity: RawIdentity): RawDelta[] {
    const key = keyOf(identity);
    this.#bury(identity.uid);
    if (this.#held.get(key)?.uid !== identity.uid) return [];
    this.#held.delete(key);
    return [{ op: "removed", key }];
  }

  /** A namesake with another uid is another object: the one that was held is gone. */
  #put(identity: RawIdentity, object: RawObject, held: Stamp | undefined): RawDelta[] {
    const key = keyOf(identity);
    const replaced: RawDelta[] = held !== undefined && held.uid !== identity.uid ? [{ op: "removed", key }] : [];
    if (held !== undefined && replaced.length > 0) this.#bury(held.uid);
    this.#held.set(key, { uid: identity.uid, resourceVersion: identity.resourceVersion });
    return [...replaced, { op: "put", key, object }];
  }

  #bury(uid: string): void {
    if (uid === "") return;
    this.#tombstones.add(uid);
    const [oldest] = this.#tombstones;
    if (this.#tombstones.size > tombstoneLimit && oldest !== undefined) this.#tombstones.delete(oldest);
  }

  #progress(resourceVersion: string): void {
    this.#trouble = undefined;
    this.#calmDown();
    const order = compareVersions(resourceVersion, this.#resourceVersion);
    if (resourceVersion !== "" && (order === undefined || order > 0)) this.#resourceVersion = resourceVersion;
  }

  /** The next failure is the first one again. */
  #calmDown(): void {
    this.#refusals = 0;
    this.#failures.reset();
  }

  /** No such kind. One such answer may be a server that is only starting: what is held goes at the second. */
  #absent(): RawDelta[] {
    const trouble = { kind: "absent" } as const;
    if (this.#held.size > 0 && !this.#isSuspectedAbsent) {
      this.#isSuspectedAbsent = true;
      this.#state = { phase: "waiting", ms: 1_000, then: newListing() };
      return [];
    }
    const deltas = [...this.#held.keys()].map((key): RawDelta => ({ op: "removed", key }));
    this.#held.clear();
    this.#isSynced = true;
    this.#trouble = trouble;
    this.#state = { phase: "waiting", ms: this.#absence.next(), then: newListing() };
    return deltas;
  }

  /** The watch was refused or cut. */
  #refused(error: KubeError): void {
    const isAnswer = statusOf(error) !== undefined;
    const mustList = error.type.code === "kube.gone" || error.type.code === "kube.not-found";
    if (isAnswer) this.#refusals++;
    // The first time at once: what was missed meanwhile is missed for no longer than that.
    if (mustList && this.#refusals <= 1) this.#state = newListing();
    else this.#wait(error, mustList || this.#refusals >= refusalsBeforeList ? newListing() : { phase: "watching" });
  }

  #wait(error: KubeError, then: Listing | Watching): void {
    this.#trouble = { kind: "failing", error };
    const asked = Math.min(retryAfterOf(error) ?? 0, retryAfterCapMs) * (1 + 0.2 * this.#random());
    this.#state = { phase: "waiting", ms: Math.max(asked, this.#failures.next()), then };
  }
}

function newListing(): Listing {
  return { phase: "listing", continue: undefined, seen: new Set(), distrusted: false };
}

function isOlder(identity: RawIdentity, held: Stamp | undefined): boolean {
  const order = compareVersions(identity.resourceVersion, held?.resourceVersion ?? "");
  return order !== undefined && order < 0;
}

/** A bookmark has no name: it is given one, so that it reads like any other object. */
function nameless(object: RawObject): RawObject {
  return { metadata: { ...(isRecord(object["metadata"]) ? object["metadata"] : {}), name: "bookmark" } };
}

function eventError(object: unknown): KubeError {
  const status = isRecord(object) ? object : {};
  const code = typeof status["code"] === "number" ? status["code"] : 500;
  return statusError({ method: "GET", path: "" }, code, status);
}
