/** A source's objects, and with them those that the API server was asked for one by one because the watch doesn't show them yet: when
 *  a runtime makes a pod, the plugin may be faster than the watch. */
import type { Clock } from "../../core/base/clock.ts";
import { messageOf } from "../../core/base/errors.ts";
import type { KubeObject } from "../../control/sources/objects.ts";
import { refKey, refOf, type ObjectRef, type Snapshot, type Source } from "../../control/sources/source.ts";
import { CniError } from "./errors.ts";

/** One object as the API server has it now; undefined where it has none. Whatever it throws means that it could not be asked. */
export type AskForObject = (ref: ObjectRef) => Promise<KubeObject | undefined>;

export interface AskedObjectsModules {
  readonly source: Pick<Source, "list" | "subscribe">;
  readonly ask: AskForObject;
  readonly clock: Clock;
}

interface Answer {
  readonly object: KubeObject;
  readonly untilMs: number;
}

export class AskedObjects {
  readonly #modules: AskedObjectsModules;
  readonly #answers = new Map<string, Answer>();
  readonly #unsubscribe: () => void;

  /** Make it before whoever else subscribes and then lists: the watch's word wins at once. */
  constructor(modules: AskedObjectsModules) {
    this.#modules = modules;
    this.#unsubscribe = modules.source.subscribe((deltas) => {
      for (const { op, object } of deltas) {
        const key = refKey(refOf(object));
        const answer = this.#answers.get(key);
        // What is told of a predecessor of that name, late, says nothing of its successor.
        if (answer !== undefined && isSameOrLater(object, answer.object, op)) this.#answers.delete(key);
      }
    });
  }

  list(): Snapshot {
    const base = this.#modules.source.list();
    const nowMs = this.#modules.clock.nowMs();
    for (const [key, { untilMs }] of this.#answers) if (untilMs <= nowMs) this.#answers.delete(key);
    return this.#answers.size === 0
      ? base
      : merged(base, new Map([...this.#answers].map(([key, { object }]) => [key, object])));
  }

  /** Asks now, whatever is known. Undefined: there is no such object. */
  async ask(ref: ObjectRef): Promise<KubeObject | CniError | undefined> {
    let object: KubeObject | undefined;
    try {
      object = await this.#modules.ask(ref);
    } catch (thrown) {
      return new CniError({ code: "cni.api-unreachable", reason: messageOf(thrown) });
    }
    const known = this.#modules.source.list().get(ref.kind, ref.namespace, ref.name);
    if (object !== undefined && known?.metadata.uid !== object.metadata.uid)
      this.#answers.set(refKey(ref), { object, untilMs: this.#modules.clock.nowMs() + keptMs });
    return object;
  }

  /** The known one, or else what the API server says. */
  async find(ref: ObjectRef): Promise<KubeObject | CniError | undefined> {
    return this.list().get(ref.kind, ref.namespace, ref.name) ?? this.ask(ref);
  }

  close(): void {
    this.#unsubscribe();
    this.#answers.clear();
  }
}

function isSameOrLater({ metadata }: KubeObject, than: KubeObject, op: "put" | "removed"): boolean {
  if (metadata.uid === than.metadata.uid) return true;
  return op === "put" && (metadata.creationTimestamp ?? "") > (than.metadata.creationTimestamp ?? "");
}

function merged(base: Snapshot, answers: ReadonlyMap<string, KubeObject>): Snapshot {
  const objects = function* (): Generator<KubeObject> {
    for (const object of base.objects()) if (!answers.has(refKey(refOf(object)))) yield object;
    yield* answers.values();
  };
  return {
    get: (kind, namespace, name) =>
      (answers.get(refKey({ kind, namespace, name })) ?? base.get(kind, namespace, name)) as ReturnType<
        typeof base.get<typeof kind>
      >,
    all: (kind) => {
      const others = base.all(kind).filter((object) => !answers.has(refKey(refOf(object))));
      const some = [...answers.values()].filter((object) => object.kind === kind) as typeof others;
      return [...others, ...some];
    },
    objects,
  };
}

/** A watch that is later than that has been begun anew, and has either shown the object or not: then it is no more. */
const keptMs = 60_000;
