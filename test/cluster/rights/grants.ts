/** What the chart's roles allow, one right at a time. */
import { parseAllDocuments } from "yaml";

/** One verb on one resource. */
export interface Grant {
  readonly verb: string;
  /** Empty for the core group. */
  readonly group: string;
  /** With its subresource: `pods/status` */
  readonly resource: string;
  /** Of the only object it is for; absent: of all. */
  readonly name?: string;
  /** Of a Role, i.e. only in the namespace of the release. */
  readonly isHome: boolean;
}

/** Of an account, as Kubernetes has it. */
export interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

/** Every right that the roles of a service account hold, by the name of both. @param manifests as helm prints them */
export function grantsOf(manifests: string, account: string): Grant[] {
  const roles = parseAllDocuments(manifests).map((document) => document.toJS() as Role | null);
  return roles.flatMap((role) =>
    role !== null && role.metadata.name === account && /^(Cluster)?Role$/.test(role.kind)
      ? (role.rules ?? []).flatMap((rule) => grantsOfRule(rule, role.kind === "Role"))
      : [],
  );
}

/** `patch pods/status`, `get leases.coordination.k8s.io[ambientd-control]` */
export function describeGrant({ verb, group, resource, name }: Omit<Grant, "isHome">): string {
  return `${verb} ${resource}${group === "" ? "" : `.${group}`}${name === undefined ? "" : `[${name}]`}`;
}

export function rulesOf(grants: readonly Grant[]): Rule[] {
  return grants.map(({ verb, group, resource, name }) => ({
    apiGroups: [group],
    resources: [resource],
    ...(name === undefined ? {} : { resourceNames: [name] }),
    verbs: [verb],
  }));
}

function grantsOfRule({ apiGroups, resources, resourceNames, verbs }: Rule, isHome: boolean): Grant[] {
  const names = resourceNames === undefined ? [{}] : resourceNames.map((name) => ({ name }));
  return apiGroups.flatMap((group) =>
    resources.flatMap((resource) =>
      names.flatMap((name) => verbs.map((verb) => ({ verb, group, resource, ...name, isHome }))),
    ),
  );
}

interface Role {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly rules?: readonly Rule[];
}
