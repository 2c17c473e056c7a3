/** Control, in this process, as an account of its own: what it brings about, and what it doesn't when it lacks a right. */
import { status } from "@grpc/grpc-js";
import { pino } from "pino";
import { startClusterPlane, type ClusterPlane } from "../../../control/server/cluster-plane.ts";
import { systemClock } from "../../../core/base/clock.ts";
import { askCertificate, codeOf } from "../../support/replicas.ts";
import { requestToken, type KindedObject } from "./accounts.ts";
import { clientOf, Lines, type Bench } from "./bench.ts";
import { describeGrant, type Grant } from "./grants.ts";

const root = "istio-ca-root-cert";
const lease = "ambientd-control";
/** The agent that asks control for its own certificate. */
export const agent = "agent";

/** One life of control. */
export class ControlTrial {
  readonly bench: Bench;
  /** Names the objects that it has to tell something. */
  readonly name: string;
  readonly lines = new Lines();
  /** Undefined: it gave up. */
  #plane: ClusterPlane | undefined;
  #closeClient: () => void = () => undefined;

  private constructor(bench: Bench, name: string) {
    this.bench = bench;
    this.name = name;
  }

  /** Settles when it serves, though perhaps nothing yet, or has given up. */
  static async start(bench: Bench, account: string): Promise<ControlTrial> {
    const trial = new ControlTrial(bench, account);
    const { namespace } = bench;
    const client = await clientOf(bench, account);
    trial.#closeClient = () => client.close();
    const plane = await startClusterPlane(
      {
        source: "kubernetes",
        namespace,
        rootNamespace: namespace,
        podName: account,
        trustedAgents: [`${namespace}/${agent}`],
        listen: { address: "127.0.0.1", port: 0 },
        clusterId: "Kubernetes",
        trustDomain: "cluster.local",
        advertise: ["127.0.0.1"],
      },
      {
        client,
        clock: systemClock,
        log: pino({ base: null, messageKey: "message" }, { write: (line) => trial.lines.write(line) }),
      },
    );
    trial.#plane = plane instanceof Error ? undefined : plane;
    return trial;
  }

  get serves(): boolean {
    return this.#plane !== undefined;
  }

  get isReady(): boolean {
    return this.#plane?.isReady() === true;
  }

  get leads(): boolean {
    return this.#plane?.leads() === true;
  }

  /** The condition of control on this trial's object of a kind. Without the right to read, what others said would be lost. */
  async told(kind: ToldKind): Promise<boolean> {
    const { admin, namespace } = this.bench;
    const found = await admin.get<{ status?: { conditions?: { type: string }[] } }>(kind, namespace, this.name);
    const types = (found?.status?.conditions ?? []).map(({ type }) => type);
    return types.some((type) => ours.has(type)) && (kind === "Service" || types.includes(theirs.type));
  }

  async published(namespace: string): Promise<boolean> {
    const map = await this.bench.admin.get<{ data?: Record<string, string> }>("ConfigMap", namespace, root);
    return map?.data?.["root-cert.pem"] === (await rootOf(this.bench));
  }

  async issues(): Promise<boolean> {
    const { admin, namespace } = this.bench;
    const token = await requestToken(admin, namespace, agent, agent);
    const endpoint = {
      address: `https://127.0.0.1:${this.#plane?.port ?? 0}`,
      rootCa: await rootOf(this.bench),
      token: () => token,
      clusterId: "Kubernetes",
    };
    const wanted = { trustDomain: "cluster.local", namespace, serviceAccount: agent };
    return codeOf(await askCertificate(endpoint, wanted)) === status.OK;
  }

  async close(): Promise<void> {
    await this.#plane?.close();
    this.#closeClient();
  }
}

/** What a right is for: how the world is before, and what there is afterwards only with it. */
export interface Purpose {
  readonly what: string;
  readonly prepare?: (bench: Bench) => Promise<void>;
  readonly holds: (trial: ControlTrial) => boolean | Promise<boolean>;
}

/** Each right of control and what it is for. @param second a namespace in which the root was spoilt */
export function purposeOf(grant: Grant, second: string): Purpose {
  const { verb, group, resource, name } = grant;
  const right = describeGrant(grant);
  const plain = group === "" ? resource : `${resource}.${group}`;
  switch (right) {
    case "list secrets[istio-ca-secret]":
    case "watch secrets[istio-ca-secret]":
    case "watch configmaps[istio-ca-root-cert]":
      return { what: `news of ${name}`, holds: ({ lines }) => !lines.cannotFollow(resource) };
    case "list secrets[cacerts]":
    case "watch secrets[cacerts]":
      return { what: "news of cacerts", prepare: plugIn, holds: ({ lines }) => !lines.cannotFollow(resource) };
    case "list configmaps[istio-ca-root-cert]":
    case "create configmaps":
      return {
        what: "the root in a namespace that has none",
        prepare: ({ admin, namespace }) => admin.delete("ConfigMap", namespace, root),
        holds: (trial) => trial.published(trial.bench.namespace),
      };
    case "patch configmaps[istio-ca-root-cert]":
      return {
        what: "the root in a namespace where it was spoilt",
        prepare: ({ admin }) => admin.patch("ConfigMap", second, root, { data: { "root-cert.pem": "nonsense" } }),
        holds: (trial) => trial.published(second),
      };
    case "create tokenreviews.authentication.k8s.io":
      return { what: "a certificate for an agent", holds: (trial) => trial.issues() };
    case "create secrets":
      return {
        what: "a root",
        prepare: ({ admin, namespace }) => admin.delete("Secret", namespace, "istio-ca-secret"),
        holds: ({ serves }) => serves,
      };
    case "get secrets[istio-ca-secret]":
    case "get secrets[cacerts]":
      return { what: "a root", holds: ({ serves }) => serves };
    case "create leases.coordination.k8s.io":
      return {
        what: "a leader",
        prepare: ({ admin, namespace }) => admin.delete("Lease", namespace, lease),
        holds: ({ leads }) => leads,
      };
    case "get leases.coordination.k8s.io[ambientd-control]":
    case "update leases.coordination.k8s.io[ambientd-control]":
      return { what: "a leader", holds: ({ leads }) => leads };
  }
  const kind = toldKinds.find(({ resources }) => resources.some((one) => one === plain))?.kind;
  if (kind !== undefined && /^(get|patch)$/.test(verb)) {
    return { what: `what is said of a ${kind}`, holds: (trial) => trial.told(kind) };
  }
  switch (verb) {
    case "list":
      return { what: "readiness", holds: ({ isReady, lines }) => isReady && !lines.cannotFollow(plain) };
    case "watch":
      return { what: `news of ${resource}`, holds: ({ isReady, lines }) => isReady && !lines.cannotFollow(plain) };
  }
  throw new Error(`nobody has said what this right is for: ${right}`);
}

/** Rights without which nothing is written, so that several may be tried at once. */
export function isReading({ verb, resource }: Grant): boolean {
  return /^(list|watch)$/.test(verb) && resource !== "secrets" && resource !== "configmaps";
}

/** An object of each kind that is told something, with what others told it. */
export async function tellable({ admin, namespace }: Bench, name: string): Promise<void> {
  const labels = { "istio.io/use-waypoint": "nowhere" };
  const metadata = { name, namespace, labels };
  const nobody = { selector: { matchLabels: { app: "none" } } };
  await admin.create([
    { kind: "Service", metadata, spec: { ports: [{ port: 80 }] } },
    {
      kind: "ServiceEntry",
      metadata,
      spec: {
        hosts: [`${name}.example`],
        ports: [{ number: 80, name: "http", protocol: "HTTP" }],
        resolution: "DNS",
        location: "MESH_EXTERNAL",
      },
    },
    { kind: "WorkloadEntry", metadata, spec: { address: "192.0.2.1" } },
    { kind: "AuthorizationPolicy", metadata, spec: nobody },
    // Told something only where it can't be understood: a port that is written like this.
    {
      kind: "PeerAuthentication",
      metadata,
      spec: { ...nobody, portLevelMtls: { "0000080": { mode: "STRICT" } } },
    },
  ] satisfies KindedObject[]);
  const said = { status: { conditions: [{ ...theirs, status: "True", lastTransitionTime: "2026-01-01T00:00:00Z" }] } };
  for (const { kind } of toldKinds) if (kind !== "Service") await admin.patch(kind, namespace, name, said, "status");
}

/** Whoever comes next may lead at once, under a root of its own. */
export async function tidy({ admin, namespace }: Bench): Promise<void> {
  await admin.delete("Secret", namespace, "cacerts");
  await admin.create([{ kind: "Lease", metadata: { name: lease, namespace }, spec: {} }]);
  await admin.patch("Lease", namespace, lease, { spec: { holderIdentity: "" } });
}

/** Our own root as one that somebody brought along. */
export async function plugIn({ admin, namespace }: Bench): Promise<void> {
  const ours = await admin.get<{ data: Record<string, string> }>("Secret", namespace, "istio-ca-secret");
  const certificate = ours?.data["ca-cert.pem"];
  const data = { ...ours?.data, "cert-chain.pem": certificate, "root-cert.pem": certificate };
  await admin.create([{ kind: "Secret", metadata: { name: "cacerts", namespace }, data }]);
}

async function rootOf({ admin, namespace }: Bench): Promise<string> {
  const secret = await admin.get<{ data: Record<string, string> }>("Secret", namespace, "istio-ca-secret");
  return Buffer.from(secret?.data["ca-cert.pem"] ?? "", "base64").toString();
}

export const toldKinds = [
  { kind: "Service", resources: ["services/status"] },
  ...(
    [
      ["ServiceEntry", "serviceentries", "networking.istio.io"],
      ["WorkloadEntry", "workloadentries", "networking.istio.io"],
      ["AuthorizationPolicy", "authorizationpolicies", "security.istio.io"],
      ["PeerAuthentication", "peerauthentications", "security.istio.io"],
    ] as const
  ).map(([kind, plural, group]) => ({ kind, resources: [`${plural}.${group}`, `${plural}/status.${group}`] })),
] as const;
type ToldKind = (typeof toldKinds)[number]["kind"];
const ours: ReadonlySet<string> = new Set(["istio.io/WaypointBound", "ZtunnelAccepted", "Accepted"]);
const theirs = { type: "WaypointAccepted", reason: "Accepted", message: "" };
