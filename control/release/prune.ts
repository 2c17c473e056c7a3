/** Deletes what control wrote and no chart knows of: the root in every namespace, its own Lease and Secret, statuses. */
import { isConflict, isNotFound, KubeError, statusOf } from "../sources/kubernetes/errors.ts";
import { apiVersionOf, collectionPath, objectPath } from "../sources/kubernetes/paths.ts";
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

/** Takes back what control said of all objects of a kind. Whoever writes at the same moment is read again. */
async function clearStatuses(client: ReleaseClient, kind: KindWithStatus, attempts = 5): Promise<number | KubeError> {
  const objects = await listAll<ObjectWithStatus>(client, collectionPath(kind));
  if (objects instanceof KubeError) return objects;
  let cleared = 0;
  let conflict: KubeError | undefined;
  for (const object of objects) {
    const { name, namespace = "", managedFields = [] } = object.metadata;
    if (!managedFields.some(({ manager }) => manager === controlName)) continue;
    const body = withoutOurs(kind, object);
    if (body === undefined) continue;
    const path = objectPath(kind, namespace, name, "status");
    let answer = await client.patch(path, body, "apply", { fieldManager: controlName, force: true });
    if (answer instanceof KubeError && statusOf(answer) === 422)
      answer = await client.patch(path, emptied(object), "merge", { fieldManager: controlName });
    if (isConflict(answer)) conflict = answer;
    else if (answer instanceof KubeError && !isNotFound(answer)) return answer;
    else cleared += 1;
  }
  if (conflict === undefined) return cleared;
  if (attempts === 1) return conflict;
  const later = await clearStatuses(client, kind, attempts - 1);
  return later instanceof KubeError ? later : cleared + later;
}

/**
 * What control applies from now on: nothing, so that the server takes all of its fields away; but where conditions are one
 * list, which control owns with what others said in it, theirs. Undefined where only theirs is left.
 */
function withoutOurs(kind: KindWithStatus, { metadata, status }: ObjectWithStatus): object | undefined {
  const { name, namespace = "", resourceVersion } = metadata;
  const nothing = { apiVersion: apiVersionOf(kind), kind, metadata: { name, namespace } };
  const conditions = status?.conditions ?? [];
  const theirs = conditions.filter(({ type = "" }) => !ownConditions.has(type));
  if (kind === "Service" || theirs.length === 0) return nothing;
  if (theirs.length === conditions.length) return undefined;
  return { ...nothing, metadata: { name, namespace, resourceVersion }, status: { conditions: theirs } };
}

/**
 * Where somebody else has written a status and nothing of it is left, applying nothing would leave `status: null`, which
 * schemas refuse. What is ours is named and deleted instead, and our name goes with it.
 */
function emptied({ metadata }: ObjectWithStatus): object {
  const { resourceVersion, managedFields = [] } = metadata;
  const ours = managedFields.filter(({ manager }) => manager === controlName);
  const fields = ours.flatMap(({ fieldsV1 }) => Object.keys(fieldsV1?.["f:status"] ?? {}));
  const deletions = fields.filter((field) => field.startsWith("f:")).map((field) => [field.slice("f:".length), null]);
  return { metadata: { resourceVersion }, status: Object.fromEntries(deletions) as object };
}

interface ObjectWithStatus extends StoredObject {
  readonly status?: { readonly conditions?: readonly { readonly type?: string }[] };
}

type KindWithStatus = (typeof kindsWithStatus)[number];

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
const kindsWithStatus = [
  "AuthorizationPolicy",
  "PeerAuthentication",
  "Service",
  "ServiceEntry",
  "WorkloadEntry",
] as const;
const ownConditions: ReadonlySet<string> = new Set(["ZtunnelAccepted", "Accepted", "istio.io/WaypointBound"]);
