/** Service accounts with the chart's rights but for one of them, and clients that are those accounts. */
import { readFileSync } from "node:fs";
import { silentLog } from "../../../core/base/log.ts";
import { KubernetesClient } from "../../../control/sources/kubernetes/client.ts";
import { loadConnection, type KubeConnection } from "../../../control/sources/kubernetes/connection.ts";
import { isConflict, isNotFound, KubeError } from "../../../control/sources/kubernetes/errors.ts";
import { apiVersionOf, collectionPath, objectPath, type ApiKind } from "../../../control/sources/kubernetes/paths.ts";
import { apiUrl, kubeconfig } from "../layout.ts";
import { authority } from "../pki.ts";
import { rulesOf, type Grant } from "./grants.ts";

/** An administrator who throws what the API server complains of. */
export class Administrator {
  readonly client: KubernetesClient;

  private constructor(client: KubernetesClient) {
    this.client = client;
  }

  static async connect(): Promise<Administrator> {
    const connection = must(await loadConnection({ kubeconfig, inCluster: false }));
    return new Administrator(new KubernetesClient({ connection, log: silentLog, userAgent: "test" }));
  }

  /** All at once; those that are there already stay. */
  async create(objects: readonly KindedObject[]): Promise<void> {
    await inLanes(objects, async (object) => {
      const created = await this.client.create(collectionPath(object.kind, object.metadata.namespace), {
        apiVersion: apiVersionOf(object.kind),
        ...object,
      });
      if (!isConflict(created)) must(created);
    });
  }

  async get<T>(kind: ApiKind, namespace: string, name: string): Promise<T | undefined> {
    const found = await this.client.get<T>(objectPath(kind, namespace, name));
    return isNotFound(found) ? undefined : must(found);
  }

  async patch(kind: ApiKind, namespace: string, name: string, body: object, subresource = ""): Promise<void> {
    must(await this.client.patch(objectPath(kind, namespace, name, subresource), body, "merge"));
  }

  async delete(kind: ApiKind, namespace: string, name: string): Promise<void> {
    const deleted = await this.client.delete(objectPath(kind, namespace, name), { gracePeriodSeconds: 0 });
    if (!isNotFound(deleted)) must(deleted);
  }

  close(): void {
    this.client.close();
  }
}

/** Every error of a request is a mistake of the test. */
export function must<T>(answer: T | KubeError): T {
  if (answer instanceof KubeError) throw answer;
  return answer;
}

export interface KindedObject {
  readonly kind: ApiKind;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly [field: string]: unknown };
  readonly [field: string]: unknown;
}

/** An account of a namespace that has these rights and no others. */
export interface Account {
  readonly name: string;
  readonly grants: readonly Grant[];
}

/** Makes them. Their cluster-wide roles carry the label `test=<namespace>`. */
export async function createAccounts(
  admin: Administrator,
  namespace: string,
  accounts: readonly Account[],
): Promise<void> {
  await admin.create(
    accounts.flatMap(({ name, grants }): KindedObject[] => {
      const wide = { name: `${namespace}-${name}`, labels: { test: namespace } };
      const home = { name, namespace };
      const subjects = [{ kind: "ServiceAccount", name, namespace }];
      const apiGroup = "rbac.authorization.k8s.io";
      return [
        { kind: "ServiceAccount", metadata: home },
        { kind: "ClusterRole", metadata: wide, rules: rulesOf(grants.filter(({ isHome }) => !isHome)) },
        {
          kind: "ClusterRoleBinding",
          metadata: wide,
          roleRef: { apiGroup, kind: "ClusterRole", name: wide.name },
          subjects,
        },
        { kind: "Role", metadata: home, rules: rulesOf(grants.filter(({ isHome }) => isHome)) },
        { kind: "RoleBinding", metadata: home, roleRef: { apiGroup, kind: "Role", name }, subjects },
      ];
    }),
  );
}

/** What createAccounts made outside of the namespace. */
export async function removeAccounts(admin: Administrator, namespace: string): Promise<void> {
  const query = { labelSelector: `test=${namespace}` };
  for (const kind of ["ClusterRoleBinding", "ClusterRole"] as const)
    must(await admin.client.delete(collectionPath(kind), { query }));
}

/** Who an account is to the API server. */
export async function connectAs(admin: Administrator, namespace: string, account: string): Promise<KubeConnection> {
  const token = await requestToken(admin, namespace, account);
  const ca = readFileSync(authority.certificate, "utf8");
  const credentials = { headers: { authorization: `Bearer ${token}` }, tls: { ca } };
  return { server: new URL(apiUrl), namespace, credentials: async () => credentials, refresh: () => undefined };
}

/** @param pod binds it to this one, for control. */
export async function requestToken(
  admin: Administrator,
  namespace: string,
  account: string,
  pod?: string,
): Promise<string> {
  const bound = { audiences: ["istio-ca"], boundObjectRef: { kind: "Pod", apiVersion: "v1", name: pod } };
  const body = {
    apiVersion: "authentication.k8s.io/v1",
    kind: "TokenRequest",
    spec: { expirationSeconds: 3600, ...(pod === undefined ? {} : bound) },
  };
  const path = objectPath("ServiceAccount", namespace, account, "token");
  return must(await admin.client.create<{ status: { token: string } }>(path, body)).status.token;
}

/** Some at a time. */
export async function inLanes<T>(items: readonly T[], work: (item: T) => Promise<void>, lanes = 8): Promise<void> {
  const queue = items.values();
  await Promise.all(
    Array.from({ length: lanes }, async () => {
      for (const item of queue) await work(item);
    }),
  );
}
