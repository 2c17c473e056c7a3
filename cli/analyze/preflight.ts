/** Whether ambientd can be installed here, judged from what was read. Pure. */
import type { ApiDaemonSet, ApiNamespace, ApiNode } from "../clients/api-objects.ts";
import { nameOf } from "../clients/api-objects.ts";
import type { Check } from "../render/checks.ts";

/** The oldest Kubernetes the chart accepts (deploy/chart/templates/preflight.yaml): 1.30. */
export const oldestMinor = 30;

export interface PreflightFacts {
  /** As /version says: `v1.36.3`. */
  readonly kubernetes: string;
  /** Where it goes. */
  readonly namespace: string;
  /** undefined: it doesn't exist yet, or may not be read. */
  readonly namespaceObject: ApiNamespace | undefined;
  readonly permissions: readonly Permission[];
  /** undefined: may not be listed. */
  readonly nodes: readonly ApiNode[] | undefined;
  /** undefined: may not be listed. */
  readonly daemonSets: readonly ApiDaemonSet[] | undefined;
}

/** One thing Helm must be able to do. */
export interface Permission {
  readonly verb: string;
  /** `daemonsets.apps` */
  readonly resource: string;
  /** Empty: cluster-wide. */
  readonly namespace: string;
  readonly allowed: boolean;
}

export function preflight(facts: PreflightFacts): Check[] {
  return [
    kubernetesCheck(facts),
    permissionCheck(facts),
    ...nodeChecks(facts),
    ...otherMeshChecks(facts),
    ...podSecurityChecks(facts),
  ];
}

function kubernetesCheck({ kubernetes }: PreflightFacts): Check {
  const [, major, minor] = /^v?(\d+)\.(\d+)/.exec(kubernetes) ?? [];
  if (major === undefined || minor === undefined) {
    return warning(
      "kubernetes-version",
      `it calls itself "${kubernetes}"`,
      `ambientd is made for Kubernetes 1.${oldestMinor} and newer.`,
    );
  }
  const isOldEnough = Number(major) > 1 || Number(minor) >= oldestMinor;
  if (isOldEnough) return ok("kubernetes-version", kubernetes);
  return failed("kubernetes-version", `${kubernetes} is older than 1.${oldestMinor}`, "Upgrade the cluster first.");
}

function permissionCheck({ permissions }: PreflightFacts): Check {
  const missing = permissions.filter(({ allowed }) => !allowed);
  if (missing.length === 0) return ok("permissions", `you may create all ${permissions.length} kinds of objects`);
  const words = missing.map(
    ({ verb, resource, namespace }) => `${verb} ${resource}${namespace === "" ? "" : ` in ${namespace}`}`,
  );
  return failed(
    "permissions",
    `you may not ${words.join(", ")}`,
    "Install as a cluster administrator (--context), or have the missing verbs granted: kubectl auth can-i --list",
  );
}

function nodeChecks({ nodes }: PreflightFacts): Check[] {
  if (nodes === undefined) return [skipped("nodes", "you may not list nodes", "Linux on amd64 or arm64 is needed.")];
  const fitting = nodes.filter(isFitting);
  const others = nodes.filter((node) => !isFitting(node));
  if (fitting.length === 0) {
    return [
      failed(
        "nodes",
        `none of ${nodes.length} nodes is Linux on amd64 or arm64`,
        "Add one that is; ambientd runs on no other.",
      ),
    ];
  }
  if (others.length === 0) return [ok("nodes", `${fitting.length} with Linux on amd64 or arm64`)];
  const kinds = others.map((node) => `${node.metadata.name} (${platformOf(node)})`);
  return [
    warning(
      "nodes",
      `${fitting.length} fit, ${kinds.join(", ")} can't take part`,
      "Pods on those stay outside the mesh; a policy that demands mTLS shuts them out.",
    ),
  ];
}

function isFitting(node: ApiNode): boolean {
  const { operatingSystem, architecture } = node.status?.nodeInfo ?? {};
  return operatingSystem === "linux" && (architecture === "amd64" || architecture === "arm64");
}

function platformOf(node: ApiNode): string {
  const { operatingSystem = "unknown", architecture = "unknown" } = node.status?.nodeInfo ?? {};
  return `${operatingSystem}/${architecture}`;
}

/** As the chart judges, but before Helm has begun, and all at once. */
function otherMeshChecks({ daemonSets, namespace }: PreflightFacts): Check[] {
  if (daemonSets === undefined) {
    return [
      skipped(
        "other-mesh",
        "you may not list daemonsets.apps",
        "Make sure that no istio-cni and no ztunnel runs here.",
      ),
    ];
  }
  const found = daemonSets.flatMap((daemonSet): Check[] => {
    const labels = daemonSet.spec?.selector?.matchLabels ?? {};
    const name = nameOf(daemonSet);
    if (labels["k8s-app"] === "istio-cni-node") {
      return [
        failed(
          "istio-cni",
          `${name} would redirect the same pods`,
          "Remove it, or run our agent under it: --set cni.enabled=false --set zdsDir=/var/run/ztunnel --ignore istio-cni",
        ),
      ];
    }
    if (labels["app"] === "ztunnel") {
      return [
        failed(
          "ztunnel",
          `${name} would serve the same pods`,
          "Remove it, or keep it as the agent: --set agent.enabled=false --ignore ztunnel",
        ),
      ];
    }
    if (daemonSet.metadata.name === "ambientd-cni" && daemonSet.metadata.namespace !== namespace) {
      const there = daemonSet.metadata.namespace ?? "";
      return [
        failed(
          "other-ambientd",
          `ambientd is installed in ${there}, and a cluster has one`,
          `Upgrade that one: ambientctl install -n ${there}`,
        ),
      ];
    }
    return [];
  });
  return found.length > 0 ? found : [ok("other-mesh", "no istio-cni and no ztunnel is in the way")];
}

function podSecurityChecks({ namespace, namespaceObject }: PreflightFacts): Check[] {
  const enforced = namespaceObject?.metadata.labels?.["pod-security.kubernetes.io/enforce"];
  if (namespaceObject?.metadata.deletionTimestamp !== undefined) {
    return [
      failed(
        "namespace",
        `${namespace} is being deleted`,
        `Wait until it is gone: kubectl get namespace ${namespace} -w`,
      ),
    ];
  }
  if (enforced === undefined || enforced === "privileged") return [];
  return [
    failed(
      "pod-security",
      `namespace ${namespace} enforces "${enforced}", and agents and node daemons would not be admitted`,
      `kubectl label --overwrite namespace ${namespace} pod-security.kubernetes.io/enforce=privileged`,
    ),
  ];
}

function ok(name: string, finding: string): Check {
  return { subject: "", name, outcome: "ok", finding };
}

function failed(name: string, finding: string, nextStep: string): Check {
  return { subject: "", name, outcome: "failed", finding, nextStep };
}

function warning(name: string, finding: string, nextStep: string): Check {
  return { subject: "", name, outcome: "warning", finding, nextStep };
}

function skipped(name: string, finding: string, nextStep: string): Check {
  return { subject: "", name, outcome: "skipped", finding, nextStep };
}
