/** Replicas of a control plane in this process, on loopback over real TLS, behind an API server of ours. */
import assert from "node:assert/strict";
import { status as grpcStatus, type ServiceError } from "@grpc/grpc-js";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import type { TestContext } from "node:test";
import { pino } from "pino";
import type { ControlEndpoint } from "../../control/client/grpc-channel.ts";
import { openChannel, requestMetadata } from "../../control/client/grpc-channel.ts";
import { ControlError } from "../../control/client/grpc-errors.ts";
import { startXdsSession, type XdsSession } from "../../control/client/xds-session.ts";
import { startClusterPlane, type ClusterPlane } from "../../control/server/cluster-plane.ts";
import type { KubernetesConfig } from "../../control/server/config.ts";
import { KubernetesClient } from "../../control/sources/kubernetes/client.ts";
import { systemClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import { createCertificatePath, createCertificateRequest } from "../../core/protocol/ca/create-certificate.ts";
import { IstioCertificateRequest, IstioCertificateResponse } from "../../core/protocol/generated/ca.ts";
import type { Identity } from "../../core/protocol/spiffe/identity.ts";
import { createKeyAndCsr } from "../../core/protocol/x509/csr.ts";
import type { DeltaUpdate } from "../../core/protocol/xds/delta-client.ts";
import { FakeApiServer } from "./fake-api-server.ts";

export const controlNamespace = "ambient-system";

export interface Replica {
  readonly plane: ClusterPlane;
  /** Lines of its log. */
  readonly lines: Record<string, unknown>[];
  /** What who shows this token needs to ask. */
  readonly endpoint: (token: string) => ControlEndpoint;
}

/** An API server with two nodes, each with its agent, and the tokens of those agents. */
export async function startApi(t: TestContext): Promise<FakeApiServer> {
  const api = new FakeApiServer();
  for (const name of [controlNamespace, "shop", "kube-system", "kube-public", "kube-node-lease"]) {
    api.put({ apiVersion: "v1", kind: "Namespace", metadata: { name } });
  }
  for (const node of ["node1", "node2"]) {
    api.put({ apiVersion: "v1", kind: "Node", metadata: { name: node, uid: `uid-${node}` } });
    api.put(podObject(`agent-${node}`, node, "10.0.0.1", { namespace: controlNamespace, account: "ambientd-agent" }));
  }
  api.reviews = (token, audiences) => reviewOf(token, audiences);
  await api.start();
  t.after(() => api.stop());
  return api;
}

/** What a test's API server knows of tokens: `<claims as JSON in base64url>.x.x`. */
export interface TokenClaims {
  readonly audience: string;
  readonly namespace: string;
  readonly account: string;
  readonly pod?: { readonly name: string; readonly uid: string };
  readonly node?: { readonly name: string; readonly uid: string };
}

export function agentToken(node: string, change: Partial<TokenClaims> = {}): string {
  return tokenOf({
    audience: "istio-ca",
    namespace: controlNamespace,
    account: "ambientd-agent",
    pod: { name: `agent-${node}`, uid: `uid-agent-${node}` },
    node: { name: node, uid: `uid-${node}` },
    ...change,
  });
}

export function tokenOf(claims: TokenClaims): string {
  return `${Buffer.from(JSON.stringify(claims)).toString("base64url")}.x.x`;
}

function reviewOf(token: string, audiences: readonly string[]): object {
  const claims = JSON.parse(Buffer.from(token.split(".")[0] ?? "", "base64url").toString()) as TokenClaims;
  if (!audiences.includes(claims.audience)) {
    return { authenticated: false, error: `token audiences ["${claims.audience}"] is invalid` };
  }
  const { namespace, account, pod, node } = claims;
  const extra = Object.entries({
    "pod-name": pod?.name,
    "pod-uid": pod?.uid,
    "node-name": node?.name,
    "node-uid": node?.uid,
  }).flatMap(([key, value]) => (value === undefined ? [] : [[`authentication.kubernetes.io/${key}`, [value]]]));
  const user = {
    username: `system:serviceaccount:${namespace}:${account}`,
    groups: ["system:serviceaccounts", `system:serviceaccounts:${namespace}`, "system:authenticated"],
    extra: Object.fromEntries(extra) as object,
  };
  return { authenticated: true, audiences: [claims.audience], user };
}

export function podObject(
  name: string,
  node: string,
  ip: string,
  options: { namespace?: string; account?: string; phase?: string; labels?: object } = {},
): object {
  const { namespace = "shop", account = name, phase = "Running", labels = { app: name } } = options;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, uid: `uid-${name}`, labels },
    spec: { nodeName: node, serviceAccountName: account, containers: [{ name: "c" }] },
    status: {
      phase,
      ...(ip === "" ? {} : { podIP: ip, podIPs: [{ ip }], conditions: [{ type: "Ready", status: "True" }] }),
    },
  };
}

export async function startReplica(
  t: TestContext,
  api: FakeApiServer,
  podName: string,
  overrides: Partial<KubernetesConfig> = {},
): Promise<Replica> {
  const lines: Record<string, unknown>[] = [];
  const write = (line: string): void => void lines.push(JSON.parse(line) as Record<string, unknown>);
  const log = pino({ base: null, messageKey: "message" }, { write });
  const client = new KubernetesClient({ connection: api.connection(), log: silentLog, userAgent: podName });
  const config: KubernetesConfig = {
    source: "kubernetes",
    namespace: controlNamespace,
    rootNamespace: controlNamespace,
    podName,
    trustedAgents: [`${controlNamespace}/ambientd-agent`],
    listen: { address: "127.0.0.1", port: 0 },
    health: { address: "127.0.0.1", port: 0 },
    debug: { address: "127.0.0.1", port: 0 },
    clusterId: "Kubernetes",
    trustDomain: "cluster.local",
    advertise: ["127.0.0.1"],
    ...overrides,
  };
  const plane = await startClusterPlane(config, { client, clock: systemClock, log });
  assert.ok(!(plane instanceof Error), plane instanceof Error ? plane.message : "");
  t.after(() => plane.close());
  const endpoint = (token: string): ControlEndpoint => ({
    address: `https://127.0.0.1:${plane.port}`,
    rootCa: rootOf(api),
    token: () => token,
    clusterId: "Kubernetes",
  });
  return { plane, lines, endpoint };
}

/** PEM, from the Secret. */
export function rootOf(api: FakeApiServer): string {
  const secret = api.find("Secret", controlNamespace, "istio-ca-secret") as
    { data?: Record<string, string> } | undefined;
  return Buffer.from(secret?.data?.["ca-cert.pem"] ?? "", "base64").toString();
}

/** Asks for a certificate as an agent would; the answer, or the error its client saw. */
export async function askCertificate(
  endpoint: ControlEndpoint,
  impersonated: Identity,
): Promise<IstioCertificateResponse | ServiceError> {
  const client = openChannel(endpoint);
  const metadata = requestMetadata(endpoint);
  assert.ok(!(client instanceof ControlError) && !(metadata instanceof ControlError));
  const { csrPem } = createKeyAndCsr(impersonated);
  const request = createCertificateRequest({ csrPem, validitySeconds: 0n, impersonated });
  try {
    return await new Promise((resolve) => {
      client.makeUnaryRequest(
        createCertificatePath,
        (message: IstioCertificateRequest) => Buffer.from(IstioCertificateRequest.encode(message).finish()),
        (bytes: Buffer) => IstioCertificateResponse.decode(bytes),
        request,
        metadata,
        (error, answer) => resolve(error ?? answer ?? { certChain: [] }),
      );
    });
  } finally {
    client.close();
  }
}

export function codeOf(answer: IstioCertificateResponse | ServiceError): grpcStatus {
  return answer instanceof Error ? answer.code : grpcStatus.OK;
}

/** An address that leads to one replica at a time, as a Service's does. */
export interface ServiceAddress {
  readonly port: number;
  /** Cuts what is open; who comes back is led to `port`. */
  lead(port: number): void;
}

export async function serviceAddress(t: TestContext, target: number): Promise<ServiceAddress> {
  let current = target;
  const open = new Set<Socket>();
  const server = createServer((caller) => {
    const replica = connect(current, "127.0.0.1");
    for (const [socket, other] of [[caller, replica] as const, [replica, caller] as const]) {
      open.add(socket);
      socket.pipe(other);
      socket.on("error", () => other.destroy());
      socket.on("close", () => {
        open.delete(socket);
        other.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const lead = (port: number): void => {
    current = port;
    for (const socket of open) socket.destroy();
  };
  t.after(() => {
    lead(current);
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, lead };
}

export interface Agent {
  readonly session: XdsSession;
  /** `type name` → version. */
  readonly held: Map<string, string>;
  readonly updates: DeltaUpdate[];
}

/** An agent of `node`. */
export function subscribeAgent(t: TestContext, node: string, endpoint: ControlEndpoint): Agent {
  const held = new Map<string, string>();
  const updates: DeltaUpdate[] = [];
  const session = startXdsSession({
    ...endpoint,
    clock: systemClock,
    log: silentLog,
    node: {
      id: `ztunnel~10.0.0.1~agent-${node}.${controlNamespace}~${controlNamespace}.svc.cluster.local`,
      cluster: "ztunnel",
      metadata: { NODE_NAME: node },
    },
    onUpdate: (update) => {
      updates.push(update);
      for (const name of update.removed) held.delete(`${update.typeUrl} ${name}`);
      for (const { name, version } of update.resources) held.set(`${update.typeUrl} ${name}`, version);
      return Promise.resolve([]);
    },
  });
  t.after(() => session.close());
  return { session, held, updates };
}
