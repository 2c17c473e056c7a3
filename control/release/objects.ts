/** Objects as far as a release reads them, and the client that brings them. */
import { isNotFound, KubeError } from "../sources/kubernetes/errors.ts";
import type { KubeList, PatchType, Query } from "../sources/kubernetes/client.ts";

export interface Meta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly managedFields?: readonly ManagedFields[];
}

/** What a field manager owns of an object. */
export interface ManagedFields {
  readonly manager?: string;
  readonly subresource?: string;
  readonly fieldsV1?: { readonly "f:status"?: Readonly<Record<string, object>> };
}

export interface StoredObject {
  readonly metadata: Meta;
}

export interface StoredPod extends StoredObject {
  readonly spec?: { readonly nodeName?: string };
  readonly status?: { readonly phase?: string };
}

/** What is needed of a Kubernetes client. */
export interface ReleaseClient {
  get<T>(path: string): Promise<T | KubeError>;
  list<T>(path: string, query?: Query): Promise<KubeList<T> | KubeError>;
  patch<T>(path: string, body: unknown, type: PatchType, query?: Query): Promise<T | KubeError>;
  delete(path: string, options?: { preconditions?: { uid?: string } }): Promise<Record<string, unknown> | KubeError>;
}

/** Every page of a list. A kind that isn't served has no objects. */
export async function listAll<T>(client: ReleaseClient, path: string, query: Query = {}): Promise<T[] | KubeError> {
  const found: T[] = [];
  let from: string | undefined;
  do {
    const page = await client.list<T>(path, { ...query, limit: pageSize, continue: from });
    if (isNotFound(page)) return found;
    if (page instanceof KubeError) return page;
    for (const item of page.items) found.push(item);
    from = page.metadata.continue === "" ? undefined : page.metadata.continue;
  } while (from !== undefined);
  return found;
}

const pageSize = 500;
