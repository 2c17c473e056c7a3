/** ambientd on the cluster, installed by its chart: what every test of the product stands on. */
import { join } from "node:path";
import { build } from "../../../deploy/image/build.ts";
import { startCluster, Unavailable, type Cluster } from "../cluster.ts";
import { ready } from "./workloads.ts";

export const release = "ambientd";
export const systemNamespace = "ambient-system";
export const chart = join(import.meta.dirname, "../../../deploy/chart");

/** The cluster with the mesh of this checkout on it, or why there can be none. Installs what isn't there yet. */
export async function meshedCluster(): Promise<Cluster | Unavailable> {
  const cluster = await startCluster(say);
  if (cluster instanceof Unavailable) return cluster;
  // While working on a test: AMBIENTD_KEEP=1 takes the mesh that is installed, whatever it was built from.
  if (process.env["AMBIENTD_KEEP"] === "1" && (await installedTag(cluster)) !== undefined) return cluster;
  const image = await build({ say });
  if ("missing" in image) return new Unavailable(image.missing);
  if (baseOf(await installedTag(cluster)) !== image.tag) {
    await cluster.loadImage(image.archive);
    await cluster.mustKubectl(["apply", "--server-side", "--force-conflicts", "-f", cluster.parts.istioDefinitions]);
    await install(cluster, image.tag);
  }
  return cluster;
}

/** `helm upgrade --install`, waiting until all is Ready. @throws what helm complained of. */
export async function install(cluster: Cluster, tag: string, values: readonly string[] = []): Promise<void> {
  const { code, stderr } = await cluster.helm([
    ...["upgrade", "--install", release, chart, "--namespace", systemNamespace, "--create-namespace"],
    ...["--set", `image.tag=${tag}`],
    ...values.flatMap((value) => ["--set", value]),
    ...["--wait", "--timeout", "180s"],
  ]);
  if (code !== 0) throw new Error(`helm: ${stderr.trim()}\n${await stateOfPods(cluster)}`);
}

/** What runs of ours: the tag of the image, undefined where nothing is installed or not all of it is Ready. */
export async function installedTag(cluster: Cluster): Promise<string | undefined> {
  const { stdout, code } = await cluster.helm(["get", "values", release, "-n", systemNamespace, "-o", "json"]);
  if (code !== 0) return undefined;
  const isReady = await ready(cluster, systemNamespace).then(
    () => true,
    () => false,
  );
  if (!isReady) return undefined;
  const { image } = JSON.parse(stdout) as { image?: { tag?: string } };
  return image?.tag;
}

/** Gives an image of the nodes another name, or its first one back: the same bytes, but for Kubernetes another image. */
export async function loadAgain(cluster: Cluster, tag: string): Promise<string> {
  const other = tag.endsWith(again) ? baseOf(tag)! : tag + again;
  const name = (of: string): string => `docker.io/library/ambientd:${of}`;
  for (const node of cluster.nodes) {
    const { code, stderr } = await node.nsenter([
      "ctr",
      "-n",
      "k8s.io",
      "images",
      "tag",
      "--force",
      name(tag),
      name(other),
    ]);
    if (code !== 0) throw new Error(`ctr images tag: ${stderr.trim()}`);
  }
  return other;
}

const again = "-again";

function baseOf(tag: string | undefined): string | undefined {
  return tag?.endsWith(again) === true ? tag.slice(0, -again.length) : tag;
}

/** For whoever has to find out why something did not become Ready. */
export async function stateOfPods(cluster: Cluster): Promise<string> {
  const pods = await cluster.kubectl(["get", "pods", "-n", systemNamespace, "-o", "wide"]);
  const events = await cluster.kubectl(["get", "events", "-n", systemNamespace, "--sort-by=.lastTimestamp"]);
  return `${pods.stdout}\n${events.stdout.split("\n").slice(-15).join("\n")}`;
}

/** A namespace of a test's own, empty. */
export async function namespace(
  cluster: Cluster,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<string> {
  await cluster.kubectl(["delete", "namespace", name, "--ignore-not-found", "--wait"]);
  const object = { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } };
  await cluster.mustKubectl(["apply", "-f", "-"], JSON.stringify(object));
  return name;
}

/** For a file's end; what is left of them goes in the background. */
export async function remove(cluster: Cluster, ...namespaces: readonly string[]): Promise<void> {
  await cluster.kubectl(["delete", "namespace", ...namespaces, "--ignore-not-found", "--wait=false"]);
}

export const ambient = { "istio.io/dataplane-mode": "ambient" } as const;

function say(line: string): void {
  process.stdout.write(`  ${line}\n`);
}
