/** The text of /etc/hosts on a node: the lab's name service. Pure. */
import type { Service } from "../control/sources/objects.ts";

export interface NamedService {
  readonly service: Service;
  /** Its virtual addresses; those of its pods where it is headless. */
  readonly addresses: readonly string[];
}

/**
 * Every service by `name.namespace`, `name.namespace.svc` and `name.namespace.svc.cluster.local`; by its bare name only
 * where no other namespace has one of that name: all pods of a node read the same file.
 * @param fixed more names, e.g. the control plane's.
 */
export function hostsFile(
  services: readonly NamedService[],
  fixed: Readonly<Record<string, readonly string[]>>,
): string {
  const bare = new Map<string, number>();
  for (const { service } of services) bare.set(service.metadata.name, (bare.get(service.metadata.name) ?? 0) + 1);
  const lines = ["127.0.0.1 localhost", "::1 localhost"];
  for (const [name, addresses] of Object.entries(fixed))
    for (const address of addresses) lines.push(`${address} ${name}`);
  for (const { service, addresses } of services) {
    const { name, namespace } = service.metadata;
    const names = [`${name}.${namespace}.svc.cluster.local`, `${name}.${namespace}.svc`, `${name}.${namespace}`];
    if (bare.get(name) === 1) names.push(name);
    for (const address of addresses) lines.push(`${address} ${names.join(" ")}`);
  }
  return `${lines.join("\n")}\n`;
}
