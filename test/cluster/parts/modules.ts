/** What comes from other Go modules: CoreDNS, Helm, and the custom resource definitions of Gateway API and Istio. */
import { copyFileSync, cpSync } from "node:fs";
import { join } from "node:path";
import { tail } from "../command.ts";
import type { Say } from "../say.ts";
import { Unavailable } from "../unavailable.ts";
import { cached } from "./cache.ts";
import type { Go } from "./go.ts";
import { versions } from "./versions.ts";

type Compiler = () => Promise<Go | Unavailable>;

export async function buildCoredns(go: Compiler, say: Say): Promise<string | Unavailable> {
  return install("coredns", versions.coredns, "github.com/coredns/coredns", go, say);
}

export async function buildHelm(go: Compiler, say: Say): Promise<string | Unavailable> {
  return install("helm", versions.helm, "helm.sh/helm/v4/cmd/helm", go, say);
}

/** The folder with `standard/*.yaml` and `experimental/*.yaml`. */
export async function gatewayApiDefinitions(go: Compiler, say: Say): Promise<string | Unavailable> {
  return cached(`gateway-api-${versions.gatewayApi}`, async (folder) => {
    const module = await download("sigs.k8s.io/gateway-api", versions.gatewayApi, go, say);
    if (module instanceof Unavailable) return module;
    cpSync(join(module, "config/crd"), folder, { recursive: true });
    return undefined;
  });
}

/** The folder with `istio.yaml`: all of Istio's definitions in one file. */
export async function istioDefinitions(go: Compiler, say: Say): Promise<string | Unavailable> {
  return cached(`istio-api-${versions.istioApi}`, async (folder) => {
    const module = await download("istio.io/api", versions.istioApi, go, say);
    if (module instanceof Unavailable) return module;
    copyFileSync(join(module, "kubernetes/customresourcedefinitions.gen.yaml"), join(folder, "istio.yaml"));
    return undefined;
  });
}

async function install(
  name: string,
  version: string,
  path: string,
  go: Compiler,
  say: Say,
): Promise<string | Unavailable> {
  return cached(`${name}-${version}`, async (folder) => {
    const compiler = await go();
    if (compiler instanceof Unavailable) return compiler;
    say(`Building ${name} ${version} (once)…`);
    const argv = ["install", "-trimpath", "-ldflags", "-s -w", `${path}@v${version}`];
    const { code, stderr } = await compiler.run(argv, { bin: folder });
    return code === 0 ? undefined : new Unavailable(`${name} ${version} can't be built: ${tail(stderr, 3)}`);
  });
}

/** The module's folder in Go's own cache, which is read-only. */
async function download(path: string, version: string, go: Compiler, say: Say): Promise<string | Unavailable> {
  const compiler = await go();
  if (compiler instanceof Unavailable) return compiler;
  say(`Fetching ${path} ${version}…`);
  const { code, stdout, stderr } = await compiler.run(["mod", "download", "-json", `${path}@v${version}`], {
    cwd: "/",
  });
  if (code !== 0)
    return new Unavailable(`the Go registry does not give ${path} ${version}: ${tail(stderr + stdout, 3)}`);
  return (JSON.parse(stdout) as { Dir: string }).Dir;
}
