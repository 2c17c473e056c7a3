/** `npm run cluster -- --check`: one line for each check. @returns the exit code: 0 all passed, 1 something failed. */
import type { Cluster } from "./cluster.ts";

export async function check(cluster: Cluster): Promise<number> {
  const { code, stderr } = await cluster.kubectl(["wait", "--for=condition=Ready", "--timeout=60s", "nodes", "--all"]);
  process.stdout.write(code === 0 ? "ok    two nodes are Ready\n" : `FAIL  two nodes are Ready: ${stderr.trim()}\n`);
  return code === 0 ? 0 : 1;
}
