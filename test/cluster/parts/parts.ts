/** All the parts of a cluster, there after `installParts`, whatever had to be fetched or built for it. */
import { join } from "node:path";
import { find } from "../../../scripts/peers.ts";
import { sayNothing, type Say } from "../say.ts";
import { Unavailable } from "../unavailable.ts";
import { buildApp } from "./app.ts";
import { unpackDebian } from "./debian.ts";
import { findGo, type Go } from "./go.ts";
import { buildKubernetes } from "./kubernetes.ts";
import { buildCoredns, buildHelm, gatewayApiDefinitions, istioDefinitions } from "./modules.ts";
import { debianPackages } from "./versions.ts";

export interface Parts {
  /** The folders that programs are in; first in PATH of everything that a cluster runs. */
  readonly folders: readonly string[];
  /** Where the reference CNI plugins are. */
  readonly cniPlugins: string;
  readonly busybox: string;
  readonly coredns: string;
  readonly app: string;
  /** `standard/` and `experimental/` with the Gateway API's custom resource definitions. */
  readonly gatewayApi: string;
  /** One file with Istio's custom resource definitions. */
  readonly istioDefinitions: string;
}

/** Programs that every Debian has and that are not fetched. */
const machinePrograms = ["unshare", "nsenter", "setpriv", "mount", "openssl"];

/** The first time about ten minutes on two cores, then nothing to do. May be interrupted at any time. */
export async function installParts(say: Say = sayNothing): Promise<Parts | Unavailable> {
  const absent = machinePrograms.find((name) => find(name) === undefined);
  if (absent !== undefined) return new Unavailable(`no ${absent} here`);
  const go = onlyOnce(() => findGo(say));
  // The quick and likely refusals first; the long build last.
  const debian = await unpackDebian({ name: "debian", packages: debianPackages, room: "cluster" }, say);
  if (debian instanceof Unavailable) return debian;
  const app = await buildApp(go, say);
  if (app instanceof Unavailable) return app;
  const gatewayApi = await gatewayApiDefinitions(go, say);
  if (gatewayApi instanceof Unavailable) return gatewayApi;
  const istio = await istioDefinitions(go, say);
  if (istio instanceof Unavailable) return istio;
  const coredns = await buildCoredns(go, say);
  if (coredns instanceof Unavailable) return coredns;
  const helm = await buildHelm(go, say);
  if (helm instanceof Unavailable) return helm;
  const kubernetes = await buildKubernetes(go, say);
  if (kubernetes instanceof Unavailable) return kubernetes;
  return {
    folders: [kubernetes, helm, ...["usr/bin", "usr/sbin", "sbin", "bin"].map((path) => join(debian, path))],
    cniPlugins: join(debian, "usr/lib/cni"),
    busybox: join(debian, "bin/busybox"),
    coredns: join(coredns, "coredns"),
    app: join(app, "app"),
    gatewayApi,
    istioDefinitions: join(istio, "istio.yaml"),
  };
}

/** What everything that belongs to a cluster runs in: its programs first, nothing of the caller's Kubernetes. */
export function environmentOf(parts: Parts): NodeJS.ProcessEnv {
  const machine = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
  return {
    PATH: [...parts.folders, ...machine].join(":"),
    HOME: process.env["HOME"] ?? "/root",
    LANG: "C.UTF-8",
  };
}

function onlyOnce(find: () => Promise<Go | Unavailable>): () => Promise<Go | Unavailable> {
  let found: Promise<Go | Unavailable> | undefined;
  return () => (found ??= find());
}
