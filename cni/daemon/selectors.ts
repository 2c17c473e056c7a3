/** Whose traffic is captured: labels and annotations in, a verdict with its reason out. Pure.
 *  The truth table (namespace label, pod label) is istio's: a namespace says ambient for its pods, a pod may say otherwise for
 *  itself, and hostNetwork, a sidecar or an excluded namespace is always a no. */

/** `istio.io/dataplane-mode` on a Namespace or a Pod: `ambient` wants capture, `none` refuses it, anything else says nothing. */
export const dataplaneModeLabel = "istio.io/dataplane-mode";

/** Written by the sidecar injector: a pod that carries it has its own proxy. */
export const sidecarStatusAnnotation = "sidecar.istio.io/status";

/** Kubernetes' LabelSelector. An empty one matches everything. */
export interface LabelSelector {
  readonly matchLabels?: Labels;
  readonly matchExpressions?: readonly LabelExpression[];
}

export type LabelExpression =
  | { readonly key: string; readonly operator: "In" | "NotIn"; readonly values: readonly string[] }
  | { readonly key: string; readonly operator: "Exists" | "DoesNotExist" };

export type Labels = Readonly<Record<string, string>>;

/** One way to be selected: both selectors must match. */
export interface EnrolmentSelector {
  readonly podSelector: LabelSelector;
  readonly namespaceSelector: LabelSelector;
}

/** What of a pod decides whether it is captured. */
export interface SelectablePod {
  readonly namespace: string;
  readonly labels: Labels;
  readonly annotations: Labels;
  readonly hostNetwork: boolean;
}

export interface SelectionRules {
  readonly selectors: readonly EnrolmentSelector[];
  /** Namespaces whose pods are never captured, whatever their labels say. */
  readonly excludeNamespaces: ReadonlySet<string>;
}

export type Selection =
  | { readonly selected: true }
  /** The labels say yes, and something else says no. */
  | { readonly selected: false; readonly reason: "host-network" | "sidecar" | "excluded-namespace" }
  | { readonly selected: false; readonly reason: "not-selected" };

/** A pod that says ambient; or a namespace that does, with a pod that doesn't say none. */
export const defaultSelectors: readonly EnrolmentSelector[] = [
  { podSelector: { matchLabels: { [dataplaneModeLabel]: "ambient" } }, namespaceSelector: {} },
  {
    podSelector: { matchExpressions: [{ key: dataplaneModeLabel, operator: "NotIn", values: ["none"] }] },
    namespaceSelector: { matchLabels: { [dataplaneModeLabel]: "ambient" } },
  },
];

export const defaultSelectionRules: SelectionRules = {
  selectors: defaultSelectors,
  excludeNamespaces: new Set(["kube-system"]),
};

/** @param namespaceLabels of the pod's namespace; undefined when no such Namespace object is known (then only the pod speaks). */
export function select(pod: SelectablePod, namespaceLabels: Labels | undefined, rules: SelectionRules): Selection {
  const asked = rules.selectors.some(
    ({ podSelector, namespaceSelector }) =>
      matches(podSelector, pod.labels) && matches(namespaceSelector, namespaceLabels ?? {}),
  );
  if (!asked) return { selected: false, reason: "not-selected" };
  if (pod.hostNetwork) return { selected: false, reason: "host-network" };
  if (Object.hasOwn(pod.annotations, sidecarStatusAnnotation)) return { selected: false, reason: "sidecar" };
  if (rules.excludeNamespaces.has(pod.namespace)) return { selected: false, reason: "excluded-namespace" };
  return { selected: true };
}

/** Kubernetes' semantics: every label and every expression must hold; NotIn and DoesNotExist hold for a label that is absent. */
export function matches(selector: LabelSelector, labels: Labels): boolean {
  const named = Object.entries(selector.matchLabels ?? {}).every(([key, value]) => valueOf(labels, key) === value);
  return named && (selector.matchExpressions ?? []).every((expression) => holds(expression, labels));
}

function holds(expression: LabelExpression, labels: Labels): boolean {
  const value = valueOf(labels, expression.key);
  switch (expression.operator) {
    case "Exists":
      return value !== undefined;
    case "DoesNotExist":
      return value === undefined;
    case "In":
      return value !== undefined && expression.values.includes(value);
    case "NotIn":
      return value === undefined || !expression.values.includes(value);
  }
}

/** Own properties only: a selector for `constructor` must not find Object's. */
function valueOf(labels: Labels, key: string): string | undefined {
  return Object.hasOwn(labels, key) ? labels[key] : undefined;
}
