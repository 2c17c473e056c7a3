/** Changes one label of one object in a folder's manifests, and leaves everything else of the text as it was. Pure. */
import { isMap, parseAllDocuments, type Document } from "yaml";

export interface ManifestText {
  readonly file: string;
  readonly text: string;
}

export interface LabelChange {
  readonly kind: string;
  /** Absent for kinds without one. */
  readonly namespace?: string;
  readonly name: string;
  readonly key: string;
  /** Absent: the label is taken away. */
  readonly value?: string;
}

/** The manifest with the change in it, or undefined where none of them declares the object. */
export function changeLabel(manifests: readonly ManifestText[], change: LabelChange): ManifestText | undefined {
  for (const { file, text } of manifests) {
    const documents = parseAllDocuments(text) as Document[];
    const document = documents.find((candidate) => declares(candidate, change));
    if (document === undefined) continue;
    const path = ["metadata", "labels", change.key];
    if (change.value === undefined) document.deleteIn(path);
    else document.setIn(path, change.value);
    return { file, text: documents.map(String).join("") };
  }
  return undefined;
}

function declares(document: Document, { kind, namespace, name }: LabelChange): boolean {
  const { contents } = document;
  if (!isMap(contents)) return false;
  const at = (...path: string[]): unknown => document.getIn(path);
  return (
    String(at("kind")).toLowerCase() === kind.toLowerCase() &&
    at("metadata", "name") === name &&
    (namespace === undefined || (at("metadata", "namespace") ?? "default") === namespace)
  );
}
