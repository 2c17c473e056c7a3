/** The installed control as its callers meet it: one replica at a time, reached at its pod's address, with real tokens. */
import { createPrivateKey } from "node:crypto";
import { readFileSync } from "node:fs";
import type { status } from "@grpc/grpc-js";
import type { ControlEndpoint } from "../../../control/client/grpc-channel.ts";
import type { Identity } from "../../../core/protocol/spiffe/identity.ts";
import { istioCaAudience, mintToken, type NodeTokenClaims } from "../../../core/protocol/token/node-token.ts";
import { askCertificate, codeOf } from "../../support/replicas.ts";
import type { Cluster } from "../cluster.ts";
import { serviceAccounts } from "../pki.ts";
import { systemNamespace } from "./install.ts";

export interface Door {
  /** Of the replica's pod. */
  readonly pod: string;
  readonly address: string;
  /** For a caller that shows this token. */
  endpoint(token: string, clusterId?: string): ControlEndpoint;
  /** All that the replica has logged. */
  log(): Promise<string>;
}

/** Of the replicas that serve, the one whose name comes first. */
export async function controlDoor(cluster: Cluster): Promise<Door> {
  const { items } = await cluster.get<{ items: ControlPod[] }>([
    ...["pods", "-n", systemNamespace, "-l", "app.kubernetes.io/component=control"],
  ]);
  const serving = items.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  const [first] = serving.sort((one, other) => one.metadata.name.localeCompare(other.metadata.name));
  const { name } = first!.metadata;
  const address = first!.status.podIP;
  const map = await cluster.get<{ data: Record<string, string> }>([
    ...["configmap", "istio-ca-root-cert", "-n", systemNamespace],
  ]);
  return {
    pod: name,
    address,
    endpoint: (token, clusterId = "Kubernetes") => ({
      address: `https://${address}:15012`,
      rootCa: map.data["root-cert.pem"] ?? "",
      serverNames: [`ambientd-control.${systemNamespace}.svc`],
      token: () => token,
      clusterId,
    }),
    log: () => cluster.mustKubectl(["logs", "-n", systemNamespace, name]),
  };
}

/** A new token of a pod's account, bound to the pod. */
export function tokenOfPod(
  cluster: Cluster,
  pod: { readonly namespace: string; readonly name: string; readonly account: string },
  audience: string = istioCaAudience,
): Promise<string> {
  const bound = ["--bound-object-kind=Pod", `--bound-object-name=${pod.name}`];
  return tokenOfAccount(cluster, pod.namespace, pod.account, audience, bound);
}

export async function tokenOfAccount(
  cluster: Cluster,
  namespace: string,
  account: string,
  audience: string = istioCaAudience,
  more: readonly string[] = [],
): Promise<string> {
  const argv = ["create", "token", account, "-n", namespace, `--audience=${audience}`, ...more];
  return (await cluster.mustKubectl(argv)).trim();
}

/** The same token with other claims, under the cluster's own signature: what nobody would be given. */
export function resigned(token: string, change: Partial<NodeTokenClaims>): string {
  return mintToken({ ...claimsOf(token), ...change }, createPrivateKey(readFileSync(serviceAccounts.key)));
}

export function claimsOf(token: string): NodeTokenClaims {
  return JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as NodeTokenClaims;
}

/** What a caller hears, all of it that could tell refusals apart. */
export async function heard(endpoint: ControlEndpoint, wanted: Identity): Promise<Heard> {
  const answer = await askCertificate(endpoint, wanted);
  if (!(answer instanceof Error)) return { code: codeOf(answer), details: "", headers: "" };
  const { code, details, metadata } = answer;
  const { date: _date, ...headers } = metadata.getMap();
  return { code, details, headers: JSON.stringify(headers) };
}

export interface Heard {
  readonly code: status;
  readonly details: string;
  readonly headers: string;
}

interface ControlPod {
  readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
  readonly status: { readonly podIP: string };
}
