/** Deletes what control wrote and no chart knows of: the root in every namespace, its own Lease and Secret, statuses. */
import { isNotFound, KubeError } from "../sources/kubernetes/errors.ts";
import { apiVersionOf, collectionPath, objectPath, type ApiKind } from "../sources/kubernetes/paths.ts";
import { controlName } from "./names.ts";
import { listAll, type ReleaseClient, type StoredObject } from "./objects.ts";

/** Answers with a line for each kind of thing that was there. */
export async function prune(
  { namespace, keepRoot }: { readonly namespace: string; readonly keepRoot: boolean },
  client: ReleaseClient,
): Promise<string[] | KubeError> {
  const deleted: string[] = [];
  const namespaces = await listAll<StoredObject>(client, collectionPath("Namespace"));
  if (namespaces instanceof KubeError) return namespaces;
  let published = 0;
  for (const { metadata } of namespaces) {
    const gone = await remove(client, objectPath("ConfigMap", metadata.name, rootConfigMap));
    if (gone instanceof KubeError) return gone;
    if (gone) published += 1;
  }
  if (published > 0) deleted.push(`ConfigMap ${rootConfigMap} in ${count(published, "namespace")}`);
  for (const kind of kindsWithStatus) {
    const cleared = await clearStatuses(client, kind);
    if (cleared instanceof KubeError) return cleared;
    if (cleared > 0) deleted.push(`our status of ${count(cleared, kind)}`);
  }
  const lease = await remove(client, objectPath("Lease", namespace, controlName));
  if (lease instanceof KubeError) return lease;
  if (lease) deleted.push(`Lease ${controlName}`);
  if (keepRoot) return deleted;
  const secret = await removeRoot(client, namespace);
  if (secret instanceof KubeError) return secret;
  if (secret) deleted.push(`Secret ${rootSecret}`);
  return deleted;
}

/** One that ambientd made: an istiod's of the same name, or one that somebody plugged in, is theirs. */
async function removeRoot(client: ReleaseClient, namespace: string): Promise<boolean | KubeError> {
  const path = objectPath("Secret", namespace, rootSecret);
  const secret = await client.get<StoredObject>(path);
  if (isNotFound(secret)) return false;
  if (secret instanceof KubeError) return secret;
  const { labels, uid } = secret.metadata;
  if (labels?.["app.kubernetes.io/name"] !== "ambientd") return false;
  return remove(client, path, uid);
}

/** Server-side apply of nothing gives up every field that its manager owns. */
async function clearStatuses(client: ReleaseClient, kind: ApiKind): Promise<number | KubeError> {
  const objects = await listAll<StoredObject>(client, collectionPath(kind));
  if (objects instanceof KubeError) return objects;
  let cleared = 0;
  for (const { metadata } of objects) {
    const { name, namespace = "", managedFields = [] } = metadata;
    if (!managedFields.some(({ manager }) => manager === controlName)) continue;
    const nothing = { apiVersion: apiVersionOf(kind), kind, metadata: { name, namespace } };
    const path = objectPath(kind, namespace, name, "status");
    const answer = await client.patch(path, nothing, "apply", { fieldManager: controlName, force: true });
    if (answer instanceof KubeError && !isNotFound(answer)) return answer;
    cleared += 1;
  }
  return cleared;
}

/** Whether it was there. */
async function remove(client: ReleaseClient, path: string, uid?: string): Promise<boolean | KubeError> {
  const answer = await client.delete(path, uid === undefined ? {} : { preconditions: { uid } });
  if (isNotFound(answer)) return false;
  return answer instanceof KubeError ? answer : true;
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : what.endsWith("y") ? "" : "s"}`;
}

const rootConfigMap = "istio-ca-root-cert";
const rootSecret = "istio-ca-secret";
const kindsWithStatus = ["AuthorizationPolicy", "PeerAuthentication", "Service", "ServiceEntry"] as const;
