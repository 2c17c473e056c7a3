/** Whether a network namespace is connected to anything: what remains of a pod's when the pod is gone is its loopback. */
import { readFileSync } from "node:fs";
import { inNamespace } from "./namespace.ts";

/** An interface beside loopback and the fallback tunnels that the kernel puts into every namespace, be it up or down. */
export function hasNetwork(netns: number): boolean {
  const table = inNamespace(netns, () => readFileSync("/proc/thread-self/net/dev", "utf8"));
  return table.split("\n").some((line) => {
    const [, name] = /^\s*([^\s:]+):/.exec(line) ?? [];
    return name !== undefined && !fallbackLinks.has(name);
  });
}

const fallbackLinks: ReadonlySet<string> = new Set([
  ...["lo", "tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0", "ip6tnl0", "ip6gre0"],
]);
