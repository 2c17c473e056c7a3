/**
 * What a folder of manifests and overlays adds up to. Declarations go in file by file, overlays writer by writer, and
 * `flush` recomputes every object that was touched. An object whose newest version cannot be understood keeps its last
 * good one; a policy that never had one is replaced by one that refuses.
 */
import { isDeepStrictEqual } from "node:util";
import { isRecord } from "./fields.ts";
import { readManifests, type ManifestDocument } from "./manifests.ts";
import { isClusterScoped, knownKind, parseObject, type Parsed } from "./object-parsers.ts";
import type { Fault, KubeObject } from "./objects.ts";
import {
  fieldPath,
  refKey,
  refOf,
  type MergePatch,
  type ObjectDelta,
  type ObjectRef,
  type SourceProblem,
} from "./source.ts";

/** One document that says it is a certain object. */
interface Declaration {
  readonly file: string;
  /** Position among the file's documents. */
  readonly index: number;
  readonly document: ManifestDocument;
}

interface Entry {
  readonly ref: ObjectRef;
  /** In order of file and position; the first counts. */
  declarations: readonly Declaration[];
  readonly overlays: Map<string, MergePatch>;
  /** The newest manifest that was understood. */
  lastGood: unknown;
  object: KubeObject | undefined;
  problems: readonly SourceProblem[];
}

interface FileEntry {
  readonly keys: Set<string>;
  problems: SourceProblem[];
  /** `apiVersion kind` → line. */
  readonly unknownKinds: Map<string, number>;
}

export class ObjectStore {
  readonly #entries = new Map<string, Entry>();
  readonly #files = new Map<string, FileEntry>();
  readonly #overlayProblems = new Map<string, SourceProblem>();
  readonly #touched = new Set<string>();

  /** Takes a file's whole text; undefined when the file is gone. */
  setFile(file: string, text: string | undefined): void {
    const before = this.#files.get(file);
    const next: FileEntry = { keys: new Set(), problems: [], unknownKinds: new Map() };
    const found = new Map<string, Declaration[]>();
    let incomplete = false;
    for (const [index, document] of (text === undefined ? [] : readManifests(text)).entries()) {
      const ref = identify(document.value);
      if (ref === undefined) incomplete = this.#explainUnnamed(file, document, next) || incomplete;
      else push(found, refKey(ref), { file, index, document });
      incomplete ||= document.syntaxErrors.length > 0;
      if (ref !== undefined) this.#entry(ref);
    }
    for (const [key, declarations] of found) {
      next.keys.add(key);
      this.#redeclare(key, file, declarations);
    }
    for (const key of before?.keys ?? []) {
      if (next.keys.has(key)) continue;
      // A document that names nothing, or broke off, may have been or held any of those that are missing now: they stay.
      if (incomplete) next.keys.add(key);
      else this.#redeclare(key, file, []);
    }
    if (text === undefined) this.#files.delete(file);
    else this.#files.set(file, next);
  }

  /** Says that a file cannot be read; what it declared stays. */
  setUnreadable(file: string, reason: string): void {
    const entry = this.#files.get(file) ?? { keys: new Set(), problems: [], unknownKinds: new Map() };
    const message = `cannot be read (${reason}); what it declared stays in force`;
    entry.problems = [{ level: "error", code: "source.unreadable", file, line: 0, field: "", message }];
    this.#files.set(file, entry);
  }

  overlay(ref: ObjectRef, writer: string): MergePatch | undefined {
    return this.#entries.get(refKey(ref))?.overlays.get(writer);
  }

  /** @param file where the overlay was read, for messages. @param text its JSON; undefined when it is gone. */
  setOverlay(ref: ObjectRef, writer: string, file: string, text: string | undefined): void {
    const entry = this.#entry(ref);
    this.#overlayProblems.delete(file);
    if (text === undefined) {
      if (entry.overlays.delete(writer)) this.#touched.add(refKey(ref));
      return;
    }
    const patch = parsePatch(text);
    if (patch === undefined) {
      const message = "is not a JSON object; what it said before stays in force";
      this.#overlayProblems.set(file, {
        level: "error",
        code: "source.overlay",
        file,
        line: 1,
        field: "",
        message,
        ref,
      });
      return;
    }
    if (isDeepStrictEqual(entry.overlays.get(writer), patch)) return;
    entry.overlays.set(writer, patch);
    this.#touched.add(refKey(ref));
  }

  /** Recomputes what was touched since the last call: what differs now. */
  flush(): ObjectDelta[] {
    const touched = [...this.#touched];
    this.#touched.clear();
    return touched.flatMap((key): ObjectDelta[] => {
      const entry = this.#entries.get(key);
      if (entry === undefined) return [];
      const before = entry.object;
      evaluate(entry);
      const after = entry.object;
      if (entry.declarations.length === 0 && entry.overlays.size === 0) this.#entries.delete(key);
      if (after === undefined) return before === undefined ? [] : [{ op: "removed", object: before }];
      // Parsing again yields new objects: only a difference is news.
      if (isDeepStrictEqual(before, after)) return [];
      return [{ op: "put", object: after }];
    });
  }

  *objects(): Iterable<KubeObject> {
    for (const entry of this.#entries.values()) if (entry.object !== undefined) yield entry.object;
  }

  problems(): SourceProblem[] {
    const all: SourceProblem[] = [...this.#overlayProblems.values()];
    const unknownKinds = new Map<string, SourceProblem>();
    for (const file of [...this.#files.keys()].sort()) {
      const entry = this.#files.get(file);
      if (entry === undefined) continue;
      all.push(...entry.problems);
      for (const [kind, line] of entry.unknownKinds)
        if (!unknownKinds.has(kind)) unknownKinds.set(kind, unknownKind(kind, file, line));
    }
    for (const entry of this.#entries.values()) all.push(...entry.problems);
    return [...all, ...unknownKinds.values()];
  }

  /** Whether the document may be an object that we know and cannot recognise. */
  #explainUnnamed(file: string, document: ManifestDocument, entry: FileEntry): boolean {
    const syntax = document.syntaxErrors.map(({ line, message }): SourceProblem => ({
      level: "error",
      code: "source.syntax",
      file,
      line,
      field: "",
      message: `${message}; the document is left out, and nothing this file declared before is removed`,
    }));
    entry.problems.push(...syntax);
    if (syntax.length > 0) return true;
    const parsed = parseObject(document.value);
    if (parsed.result === "unknown-kind") {
      const kind = `${parsed.apiVersion} ${parsed.kind}`;
      if (!entry.unknownKinds.has(kind)) entry.unknownKinds.set(kind, document.lineOf(["kind"]));
      return false;
    }
    const faults = parsed.result === "faulty" ? parsed.faults : [];
    entry.problems.push(
      ...faults.map(({ path, message }): SourceProblem => ({
        level: "error",
        code: path.length === 0 ? "source.syntax" : "source.field",
        file,
        line: document.lineOf(path),
        field: fieldPath(path),
        message: `${message}; the document is left out, and nothing this file declared before is removed`,
      })),
    );
    return true;
  }

  #redeclare(key: string, file: string, declarations: readonly Declaration[]): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    entry.declarations = [...entry.declarations.filter((other) => other.file !== file), ...declarations].sort(
      (a, b) => compare(a.file, b.file) || a.index - b.index,
    );
    this.#touched.add(key);
  }

  #entry(ref: ObjectRef): Entry {
    const key = refKey(ref);
    const known = this.#entries.get(key);
    if (known !== undefined) return known;
    const entry: Entry = {
      ref,
      declarations: [],
      overlays: new Map(),
      lastGood: undefined,
      object: undefined,
      problems: [],
    };
    this.#entries.set(key, entry);
    return entry;
  }
}

/** RFC 7396, with null kept where it removes nothing yet: so that patches can be merged with patches. */
export function composePatches(first: MergePatch, second: MergePatch): MergePatch {
  return merge(first, second, true) as MergePatch;
}

function evaluate(entry: Entry): void {
  const [first, ...duplicates] = entry.declarations;
  entry.problems = [];
  if (first === undefined) {
    entry.object = undefined;
    entry.lastGood = undefined;
    return;
  }
  const { object, faults, effect, code } = understand(entry, first);
  entry.object = object;
  const { file, document } = first;
  entry.problems = [
    ...faults.map((fault, index): SourceProblem => ({
      level: "error",
      code,
      file,
      line: document.syntaxErrors[index]?.line ?? document.lineOf(fault.path),
      field: fieldPath(fault.path),
      message: `${fault.message}; ${effect}`,
      ref: entry.ref,
    })),
    ...duplicates.map((duplicate): SourceProblem => ({
      level: "error",
      code: "source.duplicate",
      file: duplicate.file,
      line: duplicate.document.lineOf(["metadata", "name"]),
      field: "metadata.name",
      message: `${refKey(entry.ref)} is declared in ${file} already; that one counts`,
      ref: entry.ref,
    })),
  ];
}

interface Understanding {
  readonly object: KubeObject | undefined;
  readonly faults: readonly Fault[];
  readonly code: "source.syntax" | "source.field" | "source.overlay";
  /** What is in force while there are faults. */
  readonly effect: string;
}

function understand(entry: Entry, declaration: Declaration): Understanding {
  const { value, syntaxErrors } = declaration.document;
  const syntaxFaults = syntaxErrors.map(({ message }): Fault => ({ path: [], message }));
  const parsed = parseObject(applyOverlays(value, entry), syntaxFaults);
  if (parsed.result === "object") {
    entry.lastGood = value;
    return { object: parsed.object, faults: [], code: "source.field", effect: "" };
  }
  const faults = parsed.result === "faulty" ? parsed.faults : [];
  const code = syntaxFaults.length > 0 ? "source.syntax" : "source.field";
  if (syntaxFaults.length === 0 && entry.overlays.size > 0) {
    const bare = parseObject(value);
    // The manifest itself is fine: a status nobody can read must not undo it.
    if (bare.result === "object") {
      const effect = `the fault is in a status file (by ${[...entry.overlays.keys()].sort().join(", ")}), which is left out`;
      return { object: entry.object ?? bare.object, faults, code: "source.overlay", effect };
    }
  }
  const effect = "the last good version stays in force";
  const lastGood = lastGoodObject(entry);
  if (lastGood !== undefined) return { object: { ...lastGood, faults }, faults, code, effect };
  const refusing = parsed.result === "faulty" ? parsed.refusing : undefined;
  return { object: refusing, faults, code, effect: effectOf(refusing) };
}

/** The last good manifest under today's overlays, or else the object as it stood. */
function lastGoodObject(entry: Entry): KubeObject | undefined {
  if (entry.lastGood === undefined) return undefined;
  const parsed: Parsed = parseObject(applyOverlays(entry.lastGood, entry));
  return parsed.result === "object" ? parsed.object : entry.object;
}

/** What is in force of an object that never was good. */
export function effectOf(refusing: KubeObject | undefined): string {
  if (refusing?.kind === "PeerAuthentication") return "there is no good version, so it demands mutual TLS (STRICT)";
  if (refusing?.kind !== "AuthorizationPolicy") return "there is no good version, so the object is left out";
  return refusing.spec.action === "DENY"
    ? "there is no good version, so it denies everything it selects"
    : "there is no good version, so it matches nothing";
}

function applyOverlays(value: unknown, entry: Entry): unknown {
  return [...entry.overlays.keys()].sort().reduce((merged, writer) => {
    const patch = entry.overlays.get(writer);
    return patch === undefined ? merged : merge(merged, patch, false);
  }, value);
}

function merge(target: unknown, patch: unknown, keepNull: boolean): unknown {
  if (!isRecord(patch)) return patch;
  const result = new Map<string, unknown>(isRecord(target) ? Object.entries(target) : []);
  for (const [key, value] of Object.entries(patch)) {
    if (value === null && !keepNull) result.delete(key);
    else result.set(key, merge(result.get(key), value, keepNull));
  }
  return Object.fromEntries(result);
}

/** Which object a document says it is, however wrong the rest of it may be. */
function identify(value: unknown): ObjectRef | undefined {
  const parsed = parseObject(value);
  if (parsed.result === "object") return refOf(parsed.object);
  return parsed.result === "faulty" ? parsed.ref : undefined;
}

function unknownKind(kind: string, file: string, line: number): SourceProblem {
  const message = `objects of kind ${kind} are not used here and ignored`;
  return { level: "note", code: "source.unknown-kind", file, line, field: "kind", message };
}

function parsePatch(text: string): MergePatch | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function push<Value>(map: Map<string, Value[]>, key: string, value: Value): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The name of an overlay's file: `Pod.shop.cart-1.lab.json`, `Node._.node1.lab.json`. */
export function overlayFileName(ref: ObjectRef, writer: string): string {
  return `${ref.kind}.${ref.namespace === "" ? "_" : ref.namespace}.${ref.name}.${writer}.json`;
}

/** Names may contain dots; kinds, namespaces and writers don't. */
export function parseOverlayFileName(name: string): { ref: ObjectRef; writer: string } | undefined {
  const match = /^([A-Za-z]+)\.([-a-z0-9]+|_)\.(.+)\.([-A-Za-z0-9]+)\.json$/.exec(name);
  const kind = knownKind(match?.[1] ?? "");
  const [, , scope = "", objectName = "", writer = ""] = match ?? [];
  if (kind === undefined || isClusterScoped(kind) !== (scope === "_")) return undefined;
  return { ref: { kind, namespace: scope === "_" ? "" : scope, name: objectName }, writer };
}
