/** The program of test/cluster/app, built from the checkout; keyed by its source. */
import { createHash } from "node:crypto";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { tail } from "../command.ts";
import type { Say } from "../say.ts";
import { Unavailable } from "../unavailable.ts";
import { cached } from "./cache.ts";
import type { Go } from "./go.ts";

const source = join(import.meta.dirname, "../app");

/** The folder with `app`, one static executable. */
export async function buildApp(go: () => Promise<Go | Unavailable>, say: Say): Promise<string | Unavailable> {
  return cached(`app-${sourceHash()}`, async (folder) => {
    const compiler = await go();
    if (compiler instanceof Unavailable) return compiler;
    say("Building the tests' own application…");
    const argv = ["build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", join(folder, "app"), "."];
    const { code, stderr } = await compiler.run(argv, { cwd: source });
    return code === 0 ? undefined : new Unavailable(`the tests' application can't be built: ${tail(stderr, 3)}`);
  });
}

function sourceHash(): string {
  const hash = createHash("sha256");
  for (const name of globSync("*.go", { cwd: source }).sort())
    hash.update(name).update(readFileSync(join(source, name)));
  return hash.digest("hex").slice(0, 12);
}
