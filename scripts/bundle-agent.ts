/**
 * `node scripts/bundle-agent.ts [--dist DIR]`: makes the agent of a compiled tree two files, its main thread and its worker.
 *
 * A sixth less memory than the modules one by one: no record of each module and its names, and none of Node's own modules behind an
 * ES facade, whose making reads every property and so loads what nobody asked for (`node:http` brings fetch, `node:crypto` Web Crypto).
 */
import { renameSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { build as bundle, type Plugin } from "esbuild";

/** What is loaded by name: whoever starts the agent, and whoever starts a worker. Extensions are left out. */
export const agentEntries = ["main", "worker/main"] as const;

export type AgentEntry = (typeof agentEntries)[number];

/**
 * Replaces everything in `dist/agent` by its entries.
 * @param dist a compiled tree, `dist/agent/main.js` being the agent. @param sources of which it was compiled.
 * @returns the packages that each entry carries in it, sorted.
 */
export async function bundleAgent(
  dist: string,
  sources: string = checkout,
): Promise<Readonly<Record<AgentEntry, readonly string[]>>> {
  const agent = join(dist, "agent");
  const unfinished = `${agent}.${process.pid}`;
  try {
    const { metafile } = await bundle({
      metafile: true,
      entryPoints: Object.fromEntries(agentEntries.map((name) => [name, join(sources, "agent", `${name}.ts`)])),
      outdir: unfinished,
      bundle: true,
      platform: "node",
      format: "esm",
      target: "node24",
      minifySyntax: true,
      minifyWhitespace: true,
      // Names stay: a stack in a log must say where.
      minifyIdentifiers: false,
      // A native library beside its loader.
      external: ["koffi"],
      banner: { js: banner },
      plugins: [builtinsWithoutFacade],
      logLevel: "warning",
      tsconfigRaw: {},
    });
    rmSync(agent, { recursive: true, force: true });
    renameSync(unfinished, agent);
    const packages = (entry: AgentEntry): string[] => {
      const file = resolve(unfinished, `${entry}.js`);
      const [, output] = Object.entries(metafile.outputs).find(([path]) => resolve(path) === file) ?? [];
      return packagesOf(Object.keys(output?.inputs ?? {}));
    };
    return { main: packages("main"), "worker/main": packages("worker/main") };
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
}

function packagesOf(files: readonly string[]): string[] {
  const names = files.map((file) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1]);
  return [...new Set(names.filter((name) => name !== undefined))].sort();
}

/** Node's own modules as the objects they are. */
const builtinsWithoutFacade: Plugin = {
  name: "builtins-without-facade",
  setup(build) {
    build.onResolve({ filter: /^node:/ }, ({ path, kind }) =>
      kind === "dynamic-import" ? { path, external: true } : { path, namespace: "builtin" },
    );
    build.onLoad({ filter: /^/, namespace: "builtin" }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)});`,
      loader: "js",
    }));
  },
};

/** CommonJS packages say `require("net")`. */
const banner = `import{createRequire as require_}from"node:module";const require=require_(import.meta.url);`;

const checkout = dirname(dirname(fileURLToPath(import.meta.url)));

if (import.meta.main) {
  const { values } = parseArgs({ options: { dist: { type: "string" } } });
  await bundleAgent(resolve(values.dist ?? join(checkout, "dist")));
}
