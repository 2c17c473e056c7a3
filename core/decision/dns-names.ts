/** What a name may stand for, as a pod's resolver and Kubernetes write names (agent-wire 8). */

export interface Candidate {
  /** A service's hostname, if there is one of it. */
  readonly hostname: string;
  /** The name that stands behind it: as it was asked for, or without the search domain. */
  readonly written: string;
  /** A search domain has been cut off. */
  readonly isStripped: boolean;
}

/**
 * In the order in which they are looked for: the name as it is; as Kubernetes would complete it; and the same without each search domain that it
 * ends in, because a resolver that appends one asks for `api.example.com.shop.svc.cluster.local` before it asks for `api.example.com`.
 * @param name in lower case, without the last dot.
 */
export function* candidateNames(name: string, namespace: string, clusterDomain: string): Generator<Candidate> {
  yield { hostname: name, written: name, isStripped: false };
  for (const hostname of completions(name, namespace, clusterDomain)) {
    yield { hostname, written: name, isStripped: false };
  }
  for (const search of [`${namespace}.svc.${clusterDomain}`, `svc.${clusterDomain}`, clusterDomain]) {
    if (!name.endsWith(`.${search}`)) continue;
    const written = name.slice(0, -search.length - 1);
    yield { hostname: written, written, isStripped: true };
    for (const hostname of completions(written, namespace, clusterDomain)) {
      yield { hostname, written, isStripped: true };
    }
  }
}

/**
 * `*.b.c` and `*.c` of `a.b.c`: never the name alone, never everything. A name of the cluster is never taken for one of `*.local`: Services that
 * the mesh has not been told of (of type ExternalName, say) are the cluster's to answer for.
 */
export function* wildcardsOf(name: string, clusterDomain: string): Generator<string> {
  const least = name.endsWith(`.${clusterDomain}`) ? clusterDomain.length + 1 : 0;
  for (let dot = name.indexOf("."); dot >= 0; dot = name.indexOf(".", dot + 1)) {
    if (name.length - dot < least) return;
    yield `*${name.slice(dot)}`;
  }
}

function completions(name: string, namespace: string, clusterDomain: string): string[] {
  const labels = name.split(".");
  switch (labels.length) {
    case 1:
      return [`${name}.${namespace}.svc.${clusterDomain}`];
    case 2:
      return [`${name}.svc.${clusterDomain}`, `${name}.${namespace}.svc.${clusterDomain}`];
    case 3:
      return [...(labels[2] === "svc" ? [`${name}.${clusterDomain}`] : []), `${name}.svc.${clusterDomain}`];
    case 4:
      return labels[3] === "svc" ? [`${name}.${clusterDomain}`] : [];
    default:
      return [];
  }
}
