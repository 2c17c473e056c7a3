// Starts one of our programs on Node 24, whatever `node` the machine has: plain JavaScript, because an older one reads it first.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const needed = 24;

/** @param {"ambientd" | "ambientctl"} program its compiled form is used where a release was built, else its source. */
export async function launch(program) {
  const compiled = fileURLToPath(new URL(`../dist/bin/${program}.js`, import.meta.url));
  const source = fileURLToPath(new URL(`./${program}.ts`, import.meta.url));
  const file = existsSync(source) ? source : compiled;
  if (Number.parseInt(process.versions.node, 10) >= needed) {
    process.argv[1] = file;
    await import(file);
    return;
  }
  const result = spawnSync(bundledNode(), [file, ...process.argv.slice(2)], { stdio: "inherit" });
  process.exitCode = result.status ?? 1;
}

function bundledNode() {
  try {
    return createRequire(import.meta.url).resolve(`node-linux-${process.arch}/bin/node`);
  } catch {
    process.stderr.write(
      `ambientd needs Node ${needed} and this is ${process.version}: run \`npm ci\` in the checkout (it brings one), or put Node ${needed} first on PATH.\n`,
    );
    process.exit(2);
  }
}
