/** A real two-node Kubernetes as tests use it: `startCluster()` attaches to the one that runs, or starts one. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { run, type CommandOptions, type Finished } from "./command.ts";
import { apiServerReady, killApiServer, startApiServer } from "./control-plane.ts";
import { images, kubeconfig, nodeLayouts, stateFolder } from "./layout.ts";
import { bringDown, bringUp, mend, startedByAnother } from "./lifecycle.ts";
import { writeKubeconfig, writeTokenKubeconfig } from "./kubeconfig.ts";
import { ClusterNode } from "./cluster-node.ts";
import { podProcess, type PodProcess } from "./pods.ts";
import { environmentOf, installParts, type Parts } from "./parts/parts.ts";
import { networkRefusal, refusalOf } from "./requirements.ts";
import { sayNothing, type Say } from "./say.ts";
import { isMadeOf, stateOfCluster } from "./state.ts";
import { Unavailable } from "./unavailable.ts";

export { images, Unavailable };
export type { ClusterNode, Finished, PodProcess };

/** The cluster of this machine: the one that is up, or a new one. Parts are fetched and built as needed. */
export async function startCluster(say: Say = sayNothing): Promise<Cluster | Unavailable> {
  const refusal = await refusalOf();
  if (refusal !== undefined) return refusal;
  const parts = await installParts(say);
  if (parts instanceof Unavailable) return parts;
  const noNetwork = await networkRefusal(environmentOf(parts));
  if (noNetwork !== undefined) return noNetwork;
  for (;;) {
    switch (stateOfCluster()) {
      case "absent":
        if (await bringUp(parts, say)) return new Cluster(parts);
        break;
      case "starting":
        say("Another process is starting it…");
        await startedByAnother();
        break;
      case "broken":
        say("Removing what an interrupted start left…");
        await bringDown();
        break;
      case "up":
        if (isMadeOf(parts)) {
          await mend(parts, say);
          return new Cluster(parts);
        }
        say("The cluster that is up was made of other parts: starting anew…");
        await bringDown();
    }
  }
}

/** The cluster that is up, or why there is none. */
export async function attachCluster(): Promise<Cluster | Unavailable> {
  if (stateOfCluster() !== "up") return new Unavailable("no cluster is up: npm run cluster");
  const parts = await installParts();
  return parts instanceof Unavailable ? parts : new Cluster(parts);
}

export class Cluster {
  /** Of an administrator. */
  readonly kubeconfig = kubeconfig;
  readonly nodes: readonly [ClusterNode, ClusterNode];
  readonly parts: Parts;
  /** PATH with every program of the cluster: kubectl, helm, ctr, nft, ip. */
  readonly env: NodeJS.ProcessEnv;

  constructor(parts: Parts) {
    this.parts = parts;
    this.env = { ...environmentOf(parts), KUBECONFIG: kubeconfig };
    const [first, second] = nodeLayouts.map((layout) => new ClusterNode(layout, this.env));
    this.nodes = [first!, second!];
  }

  /** As an administrator, or as `user` (the path of a kubeconfig). Does not throw when kubectl refuses. */
  kubectl(args: readonly string[], stdin?: string | Uint8Array, user: string = kubeconfig): Promise<Finished> {
    return this.command(["kubectl", "--kubeconfig", user, ...args], stdin === undefined ? {} : { stdin });
  }

  /** As `kubectl`; throws what it complained of. @returns its standard output. */
  async mustKubectl(args: readonly string[], stdin?: string | Uint8Array): Promise<string> {
    const { code, stdout, stderr } = await this.kubectl(args, stdin);
    if (code !== 0) throw new Error(`kubectl ${args.join(" ")}: ${stderr.trim()}`);
    return stdout;
  }

  /** The parsed answer of `kubectl get -o json`. */
  async get<T>(args: readonly string[]): Promise<T> {
    return JSON.parse(await this.mustKubectl(["get", "-o", "json", ...args])) as T;
  }

  helm(args: readonly string[]): Promise<Finished> {
    return this.command(["helm", "--kubeconfig", kubeconfig, ...args]);
  }

  /** Any program of the cluster, on the host. */
  command(argv: readonly string[], options: Omit<CommandOptions, "env"> = {}): Promise<Finished> {
    return run(argv, { ...options, env: this.env });
  }

  /** To both nodes. @param archive an image archive (OCI or Docker), a tar that is not compressed. */
  async loadImage(archive: string): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.loadImage(archive)));
  }

  node(name: string): ClusterNode {
    const found = this.nodes.find((node) => node.name === name);
    if (found === undefined) throw new Error(`there is no node ${name}`);
    return found;
  }

  execInPod(namespace: string, pod: string, argv: readonly string[], container?: string): Promise<Finished> {
    const chosen = container === undefined ? [] : ["-c", container];
    return this.kubectl(["exec", "-n", namespace, pod, ...chosen, "--", ...argv]);
  }

  /** A process of the pod, and its network namespace, from the host's point of view. */
  async podProcess(namespace: string, pod: string): Promise<PodProcess> {
    const { metadata, spec } = await this.get<PodFacts>(["pod", "-n", namespace, pod]);
    return podProcess(this.node(spec.nodeName), metadata.uid);
  }

  /** The command that runs a program of the host in the pod's network, where ClusterIPs and the mesh work as for the pod. */
  async inPodNetwork(namespace: string, pod: string, argv: readonly string[]): Promise<string[]> {
    const { netns } = await this.podProcess(namespace, pod);
    return ["nsenter", `--net=${netns}`, ...argv];
  }

  /** A user with a client certificate. @returns the path of a kubeconfig. */
  async mintUser(name: string, groups: readonly string[] = []): Promise<string> {
    const path = this.#userFile(name);
    await writeKubeconfig(path, { name, groups });
    return path;
  }

  /** A service account with a bound token. @returns the path of a kubeconfig. */
  async serviceAccountUser(namespace: string, name: string): Promise<string> {
    const token = (await this.mustKubectl(["create", "token", "-n", namespace, name])).trim();
    const path = this.#userFile(`${namespace}.${name}`);
    writeTokenKubeconfig(path, name, token);
    return path;
  }

  readonly apiServer = {
    /** As a crash would. */
    kill: (): Promise<void> => killApiServer(),
    /** Resolves when it is ready. */
    start: (): Promise<void> => startApiServer(this.env),
    ready: (): Promise<void> => apiServerReady(),
  };

  /** Leaves nothing behind. */
  down(): Promise<void> {
    return bringDown();
  }

  #userFile(name: string): string {
    const folder = join(stateFolder, "users");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    return join(folder, `${name.replaceAll(/[^a-zA-Z0-9.-]/g, "_")}.kubeconfig`);
  }
}

interface PodFacts {
  readonly metadata: { readonly uid: string };
  readonly spec: { readonly nodeName: string };
}
