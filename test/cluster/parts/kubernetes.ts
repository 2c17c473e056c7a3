/** Kubernetes' own programs, built from its Go module. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tail } from "../command.ts";
import { sayNowAndThen, type Say } from "../say.ts";
import { Unavailable } from "../unavailable.ts";
import { cached } from "./cache.ts";
import type { Go } from "./go.ts";
import { kubernetesCommands, versions } from "./versions.ts";

/** The folder with the six programs. About five minutes on two cores the first time. */
export async function buildKubernetes(go: () => Promise<Go | Unavailable>, say: Say): Promise<string | Unavailable> {
  return cached(`kubernetes-${versions.kubernetes}`, async (folder) => {
    const compiler = await go();
    if (compiler instanceof Unavailable) return compiler;
    say(`Fetching Kubernetes ${versions.kubernetes}…`);
    const modules = join(folder, "module");
    mkdirSync(modules);
    const requirements = await moduleFile(compiler);
    if (requirements instanceof Unavailable) return requirements;
    writeFileSync(join(modules, "go.mod"), wrapperModule(requirements));
    const refusal = await build(compiler, modules, folder, say);
    rmSync(modules, { recursive: true, force: true });
    return refusal;
  });
}

/** The text of Kubernetes' go.mod. */
async function moduleFile(go: Go): Promise<string | Unavailable> {
  const { code, stdout, stderr } = await go.run([
    "mod",
    "download",
    "-json",
    `k8s.io/kubernetes@v${versions.kubernetes}`,
  ]);
  if (code !== 0)
    return new Unavailable(`the Go registry does not give k8s.io/kubernetes: ${tail(stderr + stdout, 3)}`);
  return readFileSync((JSON.parse(stdout) as { GoMod: string }).GoMod, "utf8");
}

/**
 * Kubernetes' go.mod asks for its staging modules at v0.0.0 and replaces them by folders, which holds in its own checkout only.
 * They are published as v0.minor.patch; the wrapper says so.
 */
export function wrapperModule(requirements: string): string {
  const staging = new Set([...requirements.matchAll(/^\s*(k8s\.io\/[a-z-]+) v0\.0\.0$/gm)].map(([, name]) => name));
  const published = versions.kubernetes.replace(/^1\./, "v0.");
  return [
    "module ambientd.test/kubernetes",
    "go 1.26.0",
    `require k8s.io/kubernetes v${versions.kubernetes}`,
    ...[...staging].map((name) => `replace ${name} => ${name} ${published}`),
    "",
  ].join("\n");
}

async function build(go: Go, modules: string, folder: string, say: Say): Promise<Unavailable | undefined> {
  const packages = kubernetesCommands.map((name) => `k8s.io/kubernetes/cmd/${name}`);
  const listed = await go.run(["list", "-mod=mod", "-deps", ...packages], { cwd: modules });
  if (listed.code !== 0) return new Unavailable(`Kubernetes' modules can't be had: ${tail(listed.stderr, 3)}`);
  const total = listed.stdout.trimEnd().split("\n").length;
  let compiled = 0;
  const progress = sayNowAndThen(say, 15_000);
  const flags = ["-v", "-mod=mod", "-trimpath", "-ldflags", `-s -w ${versionFlags()}`, "-o", `${folder}/`];
  const { code, stderr } = await go.run(["build", ...flags, ...packages], {
    cwd: modules,
    onErrorLine: () =>
      progress(`Building Kubernetes ${versions.kubernetes} (once): ${++compiled} of ${total} packages…`),
  });
  return code === 0 ? undefined : new Unavailable(`Kubernetes can't be built: ${tail(stderr, 3)}`);
}

/** Else they call themselves v0.0.0-master, and charts that ask for a version refuse to be installed. */
function versionFlags(): string {
  const [major, minor] = versions.kubernetes.split(".");
  const values = { gitVersion: `v${versions.kubernetes}`, gitMajor: major, gitMinor: minor, gitTreeState: "clean" };
  return ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"]
    .flatMap((path) => Object.entries(values).map(([name, value]) => `-X ${path}.${name}=${value}`))
    .join(" ");
}
