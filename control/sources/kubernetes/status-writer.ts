/**
 * What we say about objects, written to the API server: metadata by merge patch, status by server-side apply with a field
 * manager per writer. Only for the very object that was meant (its uid is a precondition), and only where it differs.
 */
import { Backoff } from "../../../core/base/backoff.ts";
import type { Clock } from "../../../core/base/clock.ts";
import type { Random } from "../../../core/base/random.ts";
import { conditionsOf, sayTheSame } from "../conditions.ts";
import { isRecord } from "../fields.ts";
import type { Condition, KubeObject } from "../objects.ts";
import { refKey, SourceError, type MergePatch, type ObjectRef } from "../source.ts";
import type { KubernetesClient } from "./client.ts";
import { explainKubeError, isConflict, isNotFound, KubeError, retryAfterOf, statusOf } from "./errors.ts";
import { apiVersionOf, objectPath } from "./paths.ts";
import { pause } from "./pause.ts";
import { identityOf, type RawObject } from "./raw-object.ts";
import { statusWith } from "./spec-in-force.ts";
import { objectText } from "./typed-objects.ts";

export interface StatusWriterModules {
  readonly client: Pick<KubernetesClient, "get" | "patch">;
  readonly clock: Clock;
  readonly random: Random;
  readonly object: (ref: ObjectRef) => KubeObject | undefined;
  /** The spec that counts for an object whose newest one is broken; it goes into the status with the conditions that say so. */
  readonly specInForce: (ref: ObjectRef) => unknown;
  /** Takes the server's answer: the object as it is now. */
  readonly onWritten: (ref: ObjectRef, object: RawObject) => void;
}

const attemptLimit = 5;

/** Kinds whose CRD does not say that conditions are a map by type: whoever applies the list applies all of it. */
const wholeLists: ReadonlySet<string> = new Set([
  "AuthorizationPolicy",
  "PeerAuthentication",
  "ServiceEntry",
  "WorkloadEntry",
]);

/** The annotations that a writer has set on an object, and what else must be taken back with them. */
interface Written {
  readonly uid: string;
  readonly annotations: ReadonlySet<string>;
}

interface Order {
  readonly ref: ObjectRef;
  readonly writer: string;
  /** Undefined: no such object was known. */
  readonly uid: string | undefined;
  readonly patch: MergePatch | null;
  /** Condition types. */
  readonly owned: readonly string[] | undefined;
}

export class StatusWriter {
  readonly #modules: StatusWriterModules;
  readonly #closing = new AbortController();
  /** The last write of each object: the next one waits for it. */
  readonly #queues = new Map<string, Promise<unknown>>();
  /** By object and writer. */
  readonly #written = new Map<string, Map<string, Written>>();

  constructor(modules: StatusWriterModules) {
    this.#modules = modules;
  }

  /** As Source.writeStatus; one write of an object at a time, in the order of the calls. */
  write(
    ref: ObjectRef,
    writer: string,
    patch: MergePatch | null,
    owned: readonly string[] | undefined,
  ): Promise<SourceError | undefined> {
    const key = refKey(ref);
    // The object that is meant is the one that is known now, whoever has its name when the write's turn comes.
    const uid = uidIn(patch) ?? this.#modules.object(ref)?.metadata.uid;
    const before = this.#queues.get(key) ?? Promise.resolve();
    const write = before.then(() => this.#write({ ref, writer, uid, patch, owned }));
    this.#queues.set(key, write);
    void write.then(() => {
      if (this.#queues.get(key) === write) this.#queues.delete(key);
    });
    return write;
  }

  /** The object is gone, and with it all that was said of it. */
  forget(ref: ObjectRef): void {
    this.#written.delete(refKey(ref));
  }

  close(): void {
    this.#closing.abort();
  }

  async #write(order: Order): Promise<SourceError | undefined> {
    const backoff = new Backoff({ firstMs: 100, capMs: 2_000, jitter: 0.2 }, this.#modules.random);
    for (let attempt = 1; ; attempt++) {
      const error = await (order.patch === null ? this.#takeBack(order) : this.#say(order, order.patch));
      if (error === undefined) return undefined;
      if (attempt === attemptLimit || !isWorthRepeating(error) || this.#closing.signal.aborted)
        return failure(order.ref, error);
      const ms = Math.max(backoff.next(), Math.min(retryAfterOf(error) ?? 0, 5_000));
      await pause(this.#modules.clock, ms, this.#closing.signal);
    }
  }

  async #say(order: Order, patch: MergePatch): Promise<KubeError | undefined> {
    const { ref, writer, uid, owned } = order;
    const { metadata, status } = patch;
    const object = this.#modules.object(ref);
    if (uid === undefined || (object !== undefined && object.metadata.uid !== uid)) return unknownObject(ref);
    if (isRecord(metadata)) {
      const error = await this.#sayMetadata(ref, writer, uid, metadata, object);
      if (error !== undefined) return error;
    }
    return isRecord(status) ? this.#sayStatus(ref, writer, uid, status, owned, object) : undefined;
  }

  async #sayMetadata(
    ref: ObjectRef,
    writer: string,
    uid: string,
    metadata: Readonly<Record<string, unknown>>,
    object: KubeObject | undefined,
  ): Promise<KubeError | undefined> {
    const annotations = isRecord(metadata["annotations"]) ? metadata["annotations"] : {};
    const standing = object?.metadata.uid === uid ? object.metadata.annotations : undefined;
    const differs = Object.entries(annotations).some(([name, value]) => (standing?.[name] ?? null) !== value);
    if (standing !== undefined && !differs) return undefined;
    // A pod's annotations may be changed through its status: no right to change pods is needed.
    const path = objectPath(ref.kind, ref.namespace, ref.name, ref.kind === "Pod" ? "status" : "");
    const error = await this.#send(ref, path, { metadata: { uid, annotations } }, "merge", {
      fieldManager: `ambientd-${writer}`,
    });
    if (error === undefined) this.#remember(ref, writer, uid, annotations);
    return error;
  }

  async #sayStatus(
    ref: ObjectRef,
    writer: string,
    uid: string,
    status: Readonly<Record<string, unknown>>,
    owned: readonly string[] | undefined,
    object: KubeObject | undefined,
  ): Promise<KubeError | undefined> {
    const { conditions, ...rest } = status;
    const said = Array.isArray(conditions) ? (conditions as Condition[]) : undefined;
    const own = said?.filter(({ type }) => owned?.includes(type) ?? true);
    const standing = object === undefined ? [] : conditionsOf(object);
    const standingOwn = standing.filter(({ type }) => owned?.includes(type) ?? true);
    if (own !== undefined && Object.keys(rest).length === 0 && sayTheSame(own, standingOwn)) return undefined;
    const others = { ...rest, ...statusWith(ref.kind, this.#modules.specInForce(ref)) };
    if (own === undefined) return this.#apply(ref, writer, { uid }, others);
    if (!wholeLists.has(ref.kind) || standingOwn.length === standing.length)
      return this.#apply(ref, writer, { uid }, own.length === 0 ? others : { ...others, conditions: own });
    const path = objectPath(ref.kind, ref.namespace, ref.name);
    const current = await this.#modules.client.get<RawObject>(path, { signal: this.#closing.signal });
    if (current instanceof KubeError) return current;
    const foreign = rawConditions(current).filter(({ type }) => owned?.includes(String(type)) === false);
    // What others said stays, unless they say something else in this moment: then it is tried again.
    const stamp = { uid, resourceVersion: identityOf(current)?.resourceVersion };
    return this.#apply(ref, writer, stamp, { ...others, conditions: [...foreign, ...own] });
  }

  async #takeBack({ ref, writer, uid }: Order): Promise<KubeError | undefined> {
    const object = this.#modules.object(ref);
    if (uid === undefined || object?.metadata.uid !== uid) return undefined;
    const written = this.#written.get(refKey(ref))?.get(writer);
    // What was said, was said of a namesake: it went with it.
    if (written !== undefined && written.uid !== uid) return undefined;
    const annotations = Object.fromEntries([...(written?.annotations ?? [])].map((name) => [name, null]));
    if (Object.keys(annotations).length > 0) {
      const error = await this.#sayMetadata(ref, writer, uid, { annotations }, object);
      if (error !== undefined) return isNotFound(error) ? undefined : error;
    }
    if (conditionsOf(object).length === 0 || ref.kind === "Pod") return undefined;
    const error = await this.#apply(ref, writer, { uid }, {});
    return error !== undefined && isNotFound(error) ? undefined : error;
  }

  /** Whatever this writer applied before and does not now, the server takes away. */
  #apply(
    ref: ObjectRef,
    writer: string,
    stamp: { readonly uid: string; readonly resourceVersion?: string | undefined },
    status: Readonly<Record<string, unknown>>,
  ): Promise<KubeError | undefined> {
    const body = {
      apiVersion: apiVersionOf(ref.kind),
      kind: ref.kind,
      metadata: { name: ref.name, ...(ref.namespace === "" ? {} : { namespace: ref.namespace }), ...stamp },
      ...(Object.keys(status).length === 0 ? {} : { status }),
    };
    const query = { fieldManager: `ambientd-${writer}`, force: true };
    return this.#send(ref, objectPath(ref.kind, ref.namespace, ref.name, "status"), body, "apply", query);
  }

  async #send(
    ref: ObjectRef,
    path: string,
    body: unknown,
    type: "merge" | "apply",
    query: Readonly<Record<string, string | boolean>>,
  ): Promise<KubeError | undefined> {
    const { client, onWritten } = this.#modules;
    const answer = await client.patch<RawObject>(path, body, type, query, { signal: this.#closing.signal });
    if (answer instanceof KubeError) return answer;
    onWritten(ref, answer);
    return undefined;
  }

  #remember(ref: ObjectRef, writer: string, uid: string, annotations: Readonly<Record<string, unknown>>): void {
    const writers = this.#written.get(refKey(ref)) ?? new Map<string, Written>();
    const before = writers.get(writer);
    const names = new Set(before?.uid === uid ? before.annotations : []);
    for (const [name, value] of Object.entries(annotations)) {
      if (value === null) names.delete(name);
      else names.add(name);
    }
    writers.set(writer, { uid, annotations: names });
    this.#written.set(refKey(ref), writers);
  }
}

function uidIn(patch: MergePatch | null): string | undefined {
  const metadata = patch?.["metadata"];
  return isRecord(metadata) && typeof metadata["uid"] === "string" ? metadata["uid"] : undefined;
}

/** Somebody else wrote, or the server is busy. One that can't be reached is for the caller to come back to. */
function isWorthRepeating(error: KubeError): boolean {
  const status = statusOf(error);
  return isConflict(error) || status === 429 || (status !== undefined && status >= 500);
}

function failure(ref: ObjectRef, error: KubeError): SourceError {
  return new SourceError({ code: "source.write-status", file: objectText(ref), reason: explainKubeError(error) });
}

function unknownObject(ref: ObjectRef): KubeError {
  const path = objectPath(ref.kind, ref.namespace, ref.name);
  const message = `${objectText(ref)}, as it was meant, is not known here`;
  return new KubeError({ code: "kube.not-found", method: "PATCH", path, status: 404, reason: "NotFound", message });
}

function rawConditions(object: RawObject): Readonly<Record<string, unknown>>[] {
  const status = object["status"];
  const conditions = isRecord(status) ? status["conditions"] : undefined;
  return Array.isArray(conditions) ? conditions.filter(isRecord) : [];
}
