/** The text of one manifest file, as the documents in it; each can say on which line one of its fields stands. */
import { isCollection, isPair, isScalar, LineCounter, parseAllDocuments, type Document, type Node } from "yaml";
import { messageOf } from "../../core/base/errors.ts";
import { isRecord } from "./fields.ts";
import type { Fault } from "./objects.ts";

export interface ManifestDocument {
  /** As far as it could be read, when there are syntax errors. */
  readonly value: unknown;
  readonly syntaxErrors: readonly { readonly line: number; readonly message: string }[];
  /** 1-based line of a field, or of the nearest thing around it that is there. */
  lineOf(path: Fault["path"]): number;
}

/**
 * Documents in order; a `List` is taken apart; empty documents are left out. Never throws. The text is cut at its `---`
 * lines first, so that an unclosed bracket cannot swallow the documents behind it.
 */
export function readManifests(text: string): ManifestDocument[] {
  return chunksOf(text).flatMap((chunk) => readChunk(chunk));
}

interface Chunk {
  readonly text: string;
  /** Lines of the file before it. */
  readonly linesBefore: number;
}

function chunksOf(text: string): Chunk[] {
  const chunks: Chunk[] = [];
  let lines: string[] = [];
  let linesBefore = 0;
  const all = text.split("\n");
  for (const [index, line] of all.entries()) {
    if (/^---(\s|$)/.test(line)) {
      chunks.push({ text: lines.join("\n"), linesBefore });
      linesBefore = index;
      lines = [];
    }
    lines.push(line);
  }
  return [...chunks, { text: lines.join("\n"), linesBefore }];
}

function readChunk({ text, linesBefore }: Chunk): ManifestDocument[] {
  const lines = new LineCounter();
  const lineAt = (offset: number): number => linesBefore + lines.linePos(offset).line;
  const parsed = parseAllDocuments(text, { lineCounter: lines, uniqueKeys: true });
  const documents: Document.Parsed[] = Array.isArray(parsed) ? parsed : [];
  return documents.flatMap((document) => {
    const syntaxErrors = document.errors.map((error) => ({
      line: lineAt(error.pos[0]),
      message: firstLine(error.message),
    }));
    const value = valueOf(document, syntaxErrors, linesBefore);
    if ((value === null || value === undefined) && syntaxErrors.length === 0) return [];
    const lineOf = (path: Fault["path"]): number => lineAt(offsetOf(document, path));
    if (!isList(value)) return [{ value, syntaxErrors, lineOf }];
    return value.items.map((item, index) => ({
      value: item,
      syntaxErrors,
      lineOf: (path: Fault["path"]) => lineOf(["items", index, ...path]),
    }));
  });
}

function valueOf(document: Document.Parsed, errors: { line: number; message: string }[], linesBefore: number): unknown {
  try {
    return document.toJS() as unknown;
  } catch (thrown) {
    // Too many aliases, or a tree too broken to convert.
    errors.push({ line: linesBefore + 1, message: firstLine(messageOf(thrown)) });
    return undefined;
  }
}

function isList(value: unknown): value is { readonly items: readonly unknown[] } {
  return isRecord(value) && String(value["kind"]).endsWith("List") && Array.isArray(value["items"]);
}

/** Where the key of the path's last step stands; a field that is missing is looked for at its parent. */
function offsetOf(document: Document.Parsed, path: Fault["path"]): number {
  let node: unknown = document.contents;
  let offset = startOf(document.contents);
  for (const step of path) {
    if (!isCollection(node)) break;
    const item: unknown = node.items.find((candidate, index) =>
      isPair(candidate) && isScalar(candidate.key) ? String(candidate.key.value) === String(step) : index === step,
    );
    if (item === undefined) break;
    offset = startOf(isPair(item) ? item.key : item) ?? offset;
    node = isPair(item) ? item.value : item;
  }
  return offset ?? document.range[0];
}

function startOf(node: unknown): number | undefined {
  return (node as Node | null | undefined)?.range?.[0];
}

/** The library appends an excerpt of the text: positions say the same in less. */
function firstLine(message: string): string {
  return (message.split("\n")[0] ?? message).replace(/ at line \d+, column \d+:?$/, "");
}
