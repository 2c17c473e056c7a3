/** The node daemon, in this process, as an account of its own, for a node that is nothing but a name and an empty network. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { request } from "node:http";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { runInCluster } from "../../../cni/daemon/cluster.ts";
import { defaultSelectors } from "../../../cni/daemon/selectors.ts";
import { createNetworkNamespace } from "../../../core/linux/namespace.ts";
import { closeDescriptor } from "../../../core/linux/sockets.ts";
import { silentLog } from "../../../core/base/log.ts";
import { KubernetesClient, type KubeList, type StreamOptions } from "../../../control/sources/kubernetes/client.ts";
import type { KubeError } from "../../../control/sources/kubernetes/errors.ts";
import { collectionPath } from "../../../control/sources/kubernetes/paths.ts";
import { connectAs } from "./accounts.ts";
import { Lines, type Bench } from "./bench.ts";
import { describeGrant, type Grant } from "./grants.ts";
import { until } from "../../support/until.ts";

/** No such Node is in the cluster: nobody but the daemon looks after pods there. */
export const node = "nowhere";
/** The daemon's own pod. */
export const ownPod = "daemon";
/** A pod that asks for nothing, and that late watches don't show. */
const stranger = "stranger";
/** A pod that wants to be captured and can't be. */
export const misfit = "misfit";
const daemonset = "ambientd-cni";

export class CniTrial {
  readonly bench: Bench;
  readonly lines = new Lines();
  readonly #folder = mkdtempSync(join(tmpdir(), "cni-trial-"));
  readonly #network = createNetworkNamespace();
  readonly #ended = Promise.withResolvers<NodeJS.Signals>();
  #run: Promise<number> = Promise.resolve(0);
  #healthPort = 0;
  #closeClient: () => void = () => undefined;

  private constructor(bench: Bench) {
    this.bench = bench;
  }

  static async start(bench: Bench, account: string, late: Late = {}): Promise<CniTrial> {
    const trial = new CniTrial(bench);
    const folder = (name: string): string => join(trial.#folder, name);
    for (const name of ["proc/1/ns", "netns", "run"]) mkdirSync(folder(name), { recursive: true });
    symlinkSync(`/proc/${process.pid}/fd/${trial.#network}`, folder("proc/1/ns/net"));
    const connection = await connectAs(bench.admin, bench.namespace, account);
    const client = new LateClient({ connection, log: silentLog, userAgent: account }, bench.namespace, late);
    trial.#closeClient = () => client.close();
    trial.#healthPort = await freePort();
    const selection = { selectors: defaultSelectors, excludeNamespaces: new Set<string>() };
    trial.#run = runInCluster(
      {
        source: "kubernetes",
        daemon: {
          node,
          runDir: folder("run"),
          zds: folder("run/ztunnel.sock"),
          netnsDir: folder("netns"),
          host: { proc: folder("proc"), netnsDir: folder("netns") },
          dnsCapture: false,
          selection,
        },
        namespace: bench.namespace,
        daemonset,
        podName: ownPod,
        plugin: undefined,
        health: { host: "127.0.0.1", port: trial.#healthPort },
      },
      trial.#ended.promise,
      pino({ base: null, messageKey: "message" }, { write: (line) => trial.lines.write(line) }),
      { client },
    );
    return trial;
  }

  async isReady(): Promise<boolean> {
    try {
      return (await fetch(`http://127.0.0.1:${this.#healthPort}/readyz`)).ok;
    } catch {
      return false;
    }
  }

  /** The answer to the plugin that asks for a pod, if there is one within a second. */
  async admits(pod: string): Promise<boolean> {
    const body = JSON.stringify({ Netns: "", PodName: pod, PodNamespace: this.bench.namespace, IPs: null });
    return new Promise((resolve) => {
      const asking = request(
        { socketPath: join(this.#folder, "run/pluginevent.sock"), path: "/cmdadd", method: "POST", timeout: 1_000 },
        (answer) => {
          answer.resume();
          resolve(answer.statusCode === 200);
        },
      );
      asking.on("timeout", () => asking.destroy());
      asking.on("error", () => resolve(false));
      asking.end(body);
    });
  }

  async hasEvent(): Promise<boolean> {
    const { client } = this.bench.admin;
    const events = await client.list<{ regarding?: { name?: string } }>(collectionPath("Event", this.bench.namespace));
    return "items" in events && events.items.some(({ regarding }) => regarding?.name === misfit);
  }

  async saysReleased(): Promise<boolean> {
    const { admin, namespace } = this.bench;
    const own = await admin.get<{ metadata: { annotations?: object } }>("Pod", namespace, ownPod);
    return "ambientd.io/released" in (own?.metadata.annotations ?? {});
  }

  /** Told to end, does it know that it is for good? */
  async endsForGood(): Promise<boolean> {
    await this.end();
    return this.lines.all.some(({ message }) => message === "ending for good");
  }

  async end(): Promise<void> {
    this.#ended.resolve("SIGTERM");
    await this.#run;
  }

  async close(): Promise<void> {
    await this.end();
    this.#closeClient();
    closeDescriptor(this.#network);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** What a right is for. */
export interface Purpose {
  readonly what: string;
  readonly late?: Late;
  readonly holds: (trial: CniTrial) => Promise<boolean>;
}

export function purposeOf(grant: Grant): Purpose {
  const { verb, group, resource } = grant;
  const plain = group === "" ? resource : `${resource}.${group}`;
  switch (describeGrant(grant)) {
    case "get pods":
      return {
        what: "a pod that the watch has not told of",
        late: { pods: true },
        holds: (trial) => trial.admits(stranger),
      };
    case "get namespaces":
      return {
        what: "a namespace that the watch has not told of",
        late: { namespaces: true, pods: true },
        holds: (trial) => trial.admits(stranger),
      };
    case "patch pods/status":
      return {
        what: "an annotation",
        holds: async (trial) => {
          await release(trial.bench, "true");
          return until("the annotation", 3_000, () => trial.saysReleased()).catch(() => false);
        },
      };
    case "create events.events.k8s.io":
      return {
        what: "an event",
        holds: (trial) => until("an event", 3_000, () => trial.hasEvent()).catch(() => false),
      };
    case "get daemonsets.apps[ambientd-cni]":
      return {
        what: "whether it is told to end for good",
        late: { daemonsets: true },
        holds: async (trial) => {
          await trial.bench.admin.delete("DaemonSet", trial.bench.namespace, daemonset);
          return trial.endsForGood();
        },
      };
  }
  switch (verb) {
    case "list":
      return { what: "readiness", holds: async (trial) => (await trial.isReady()) && !trial.lines.cannotFollow(plain) };
    case "watch":
      return { what: `news of ${resource}`, holds: async ({ lines }) => !lines.cannotFollow(plain) };
  }
  throw new Error(`nobody has said what this right is for: ${describeGrant(grant)}`);
}

/** What the daemon looks after, and its own objects. */
export async function furnish({ admin, namespace }: Bench): Promise<void> {
  const containers = [{ name: "none", image: "none" }];
  const selector = { matchLabels: { app: "none" } };
  const template = {
    metadata: { labels: selector.matchLabels },
    spec: { containers, nodeSelector: { nowhere: "true" } },
  };
  const metadata = (name: string): { name: string; namespace: string } => ({ name, namespace });
  const labels = { "istio.io/dataplane-mode": "ambient" };
  await admin.create([
    { kind: "DaemonSet", metadata: metadata(daemonset), spec: { selector, template } },
    { kind: "Pod", metadata: metadata(ownPod), spec: { nodeName: node, containers } },
    { kind: "Pod", metadata: metadata(stranger), spec: { nodeName: node, containers } },
    { kind: "Pod", metadata: { ...metadata(misfit), labels }, spec: { nodeName: node, hostNetwork: true, containers } },
  ]);
}

/** As before furnishing, for another trial. */
export async function clear(bench: Bench): Promise<void> {
  const { admin, namespace } = bench;
  for (const pod of [ownPod, stranger, misfit]) await admin.delete("Pod", namespace, pod);
  await admin.delete("DaemonSet", namespace, daemonset);
  const events = await admin.client.list<{ metadata: { name: string } }>(collectionPath("Event", namespace));
  if (!("items" in events)) throw events;
  for (const { metadata } of events.items) await admin.delete("Event", namespace, metadata.name);
}

async function release({ admin, namespace }: Bench, value: string): Promise<void> {
  await admin.patch("DaemonSet", namespace, daemonset, { metadata: { annotations: { "ambientd.io/release": value } } });
}

/** Kinds of which the watch tells nothing, and the list not what the trial is about. */
interface Late {
  readonly pods?: boolean;
  readonly namespaces?: boolean;
  readonly daemonsets?: boolean;
}

/** To which an API server's watches are late, as they may be. */
class LateClient extends KubernetesClient {
  readonly #namespace: string;
  readonly #late: Late;

  constructor(options: ConstructorParameters<typeof KubernetesClient>[0], namespace: string, late: Late) {
    super(options);
    this.#namespace = namespace;
    this.#late = late;
  }

  override async list<T>(...args: Parameters<KubernetesClient["list"]>): Promise<KubeList<T> | KubeError> {
    const list = await super.list<T>(...args);
    const [path] = args;
    if (!("items" in list) || !this.#isLate(path) || path.endsWith("/daemonsets")) return list;
    const missing = new Set([this.#namespace, stranger]);
    const isKnown = (item: T): boolean => !missing.has((item as { metadata: { name: string } }).metadata.name);
    return { ...list, items: list.items.filter(isKnown) };
  }

  override stream(path: string, options: StreamOptions): Promise<KubeError | undefined> {
    return super.stream(path, this.#isLate(path) ? { ...options, onData: () => undefined } : options);
  }

  #isLate(path: string): boolean {
    const { namespaces, pods, daemonsets } = this.#late;
    return (
      (namespaces === true && path === collectionPath("Namespace")) ||
      (pods === true && path === collectionPath("Pod")) ||
      (daemonsets === true && path === collectionPath("DaemonSet", this.#namespace))
    );
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
