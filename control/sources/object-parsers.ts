/** Untyped documents in, typed views out: the whole view, or every fault with its path. Nothing here knows about files. */
import { createHash } from "node:crypto";
import { Fields, isRecord } from "./fields.ts";
import { parseConditions, parseEndpointSlice, parseNode, parsePod, parseService } from "./core-parsers.ts";
import { parseGateway, parseServiceEntry, parseWorkloadEntry } from "./network-parsers.ts";
import { parseAuthorizationPolicy, parsePeerAuthentication } from "./policy-parsers.ts";
import type { Fault, Kind, KubeObject, ObjectMeta } from "./objects.ts";
import type { ObjectRef } from "./source.ts";

export type Parsed =
  | { readonly result: "object"; readonly object: KubeObject }
  /** `refusing` is the view that takes effect if there never was a good version: for policies only. */
  | {
      readonly result: "faulty";
      readonly ref: ObjectRef | undefined;
      readonly faults: readonly Fault[];
      readonly refusing: KubeObject | undefined;
    }
  | { readonly result: "unknown-kind"; readonly apiVersion: string; readonly kind: string };

/** What a kind's parser is given: what all kinds share, already read. */
interface Head<K extends Kind = Kind> {
  readonly kind: K;
  readonly apiVersion: string;
  readonly metadata: ObjectMeta;
}

/**
 * @param document as YAML or JSON yields it.
 * @param syntaxFaults what was wrong with its text already: the document then is what could be made of it, and never good.
 */
export function parseObject(document: unknown, syntaxFaults: readonly Fault[] = []): Parsed {
  const faults: Fault[] = [];
  if (!isRecord(document)) {
    return faulty(undefined, [{ path: [], message: "must be a Kubernetes object" }]);
  }
  const root = new Fields(document, [], faults);
  const apiVersion = root.text("apiVersion");
  const kind = root.text("kind");
  if (apiVersion === "") root.fault("apiVersion", "is required");
  if (kind === "") root.fault("kind", "is required");
  if (faults.length > 0) return faulty(undefined, faults);
  if (!isKnown(apiVersion, kind)) return { result: "unknown-kind", apiVersion, kind };

  const metadata = parseMetadata(kind, root.child("metadata"));
  if (metadata.name === "") return faulty(undefined, faults);
  const ref = { kind, namespace: metadata.namespace, name: metadata.name };
  faults.unshift(...syntaxFaults);
  const { object, refusing } = parseKind({ kind, apiVersion, metadata }, root, faults);
  return faults.length === 0 ? { result: "object", object } : faulty(ref, faults, refusing?.(faults));
}

/** Whether objects of this kind live in no namespace. */
export function isClusterScoped(kind: Kind): boolean {
  return kind === "Namespace" || kind === "Node" || kind === "GatewayClass";
}

/** The kind of a ref read from a file name, or undefined. */
export function knownKind(kind: string): Kind | undefined {
  return Object.hasOwn(groups, kind) ? (kind as Kind) : undefined;
}

interface ParsedKind {
  readonly object: KubeObject;
  readonly refusing?: (faults: readonly Fault[]) => KubeObject;
}

function parseKind(head: Head, root: Fields, faults: readonly Fault[]): ParsedKind {
  const common = { apiVersion: head.apiVersion, metadata: head.metadata, faults: [] };
  switch (head.kind) {
    case "Namespace":
    case "ServiceAccount":
      return { object: { kind: head.kind, ...common } };
    case "GatewayClass": {
      const controllerName = root.child("spec").text("controllerName");
      return { object: { kind: "GatewayClass", ...common, spec: { controllerName } } };
    }
    case "Node":
      return { object: { kind: "Node", ...common, ...parseNode(root) } };
    case "Pod":
      return { object: { kind: "Pod", ...common, ...parsePod(root) } };
    case "Service":
      return { object: { kind: "Service", ...common, ...parseService(root) } };
    case "EndpointSlice":
      return { object: { kind: "EndpointSlice", ...common, ...parseEndpointSlice(root, head.metadata.namespace) } };
    case "WorkloadEntry":
      return { object: { kind: "WorkloadEntry", ...common, ...parseWorkloadEntry(root) } };
    case "ServiceEntry":
      return { object: { kind: "ServiceEntry", ...common, ...parseServiceEntry(root) } };
    case "Gateway":
      return { object: { kind: "Gateway", ...common, ...parseGateway(root) } };
    case "PeerAuthentication": {
      const status = { conditions: parseConditions(root.child("status")) };
      const { spec, refusing } = parsePeerAuthentication(root, faults);
      return {
        object: { kind: "PeerAuthentication", ...common, spec, status },
        refusing: (found) => ({ kind: "PeerAuthentication", ...common, faults: found, spec: refusing, status }),
      };
    }
    case "AuthorizationPolicy": {
      const status = { conditions: parseConditions(root.child("status")) };
      const { spec, refusing } = parseAuthorizationPolicy(root, head.metadata.namespace, faults);
      return {
        object: { kind: "AuthorizationPolicy", ...common, spec, status },
        refusing: (found) => ({ kind: "AuthorizationPolicy", ...common, faults: found, spec: refusing, status }),
      };
    }
  }
}

function parseMetadata(kind: Kind, meta: Fields): ObjectMeta {
  const name = meta.text("name");
  if (!meta.has("name")) meta.fault("name", "is required");
  const namespace = isClusterScoped(kind) ? "" : meta.text("namespace", "default");
  const nameIsGood = subdomain.test(name) && name.length <= 253;
  if (name !== "" && !nameIsGood) meta.fault("name", `must be lower-case letters, digits, "-" and ".", not "${name}"`);
  const namespaceIsGood = namespace === "" || (label.test(namespace) && namespace.length <= 63);
  if (!namespaceIsGood)
    meta.fault("namespace", `must be lower-case letters, digits and "-", at most 63, not "${namespace}"`);
  const creationTimestamp = meta.optionalText("creationTimestamp");
  const deletionTimestamp = meta.optionalText("deletionTimestamp");
  const uid = meta.text("uid");
  return {
    // A name that is none names nothing: the caller stops at an empty one.
    name: nameIsGood && namespaceIsGood ? name : "",
    namespace,
    uid: uid === "" ? derivedUid(kind, namespace, name, creationTimestamp) : uid,
    labels: meta.labels("labels"),
    annotations: meta.labels("annotations"),
    ownerReferences: meta.children("ownerReferences").map((owner) => ({
      kind: owner.text("kind"),
      name: owner.text("name"),
      controller: owner.flag("controller"),
    })),
    ...(creationTimestamp === undefined ? {} : { creationTimestamp }),
    ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }),
  };
}

/** A UUID (version 8, RFC 9562) that every reader of the same manifest derives alike. */
function derivedUid(kind: Kind, namespace: string, name: string, creationTimestamp = ""): string {
  const seed = [kind, namespace, name, creationTimestamp].join("\n");
  const hex = createHash("sha256").update(seed).digest("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, `a${hex.slice(17, 20)}`, hex.slice(20, 32)].join(
    "-",
  );
}

function isKnown(apiVersion: string, kind: string): kind is Kind {
  const group = apiVersion.includes("/") ? apiVersion.slice(0, apiVersion.indexOf("/")) : "";
  const known = knownKind(kind);
  return known !== undefined && groups[known] === group;
}

function faulty(ref: ObjectRef | undefined, faults: readonly Fault[], refusing?: KubeObject): Parsed {
  return { result: "faulty", ref, faults, refusing };
}

/** API group of each kind. The version behind it is not looked at: the fields we read are the same in all of them. */
const groups: Record<Kind, string> = {
  Namespace: "",
  Node: "",
  ServiceAccount: "",
  Pod: "",
  Service: "",
  EndpointSlice: "discovery.k8s.io",
  AuthorizationPolicy: "security.istio.io",
  PeerAuthentication: "security.istio.io",
  WorkloadEntry: "networking.istio.io",
  ServiceEntry: "networking.istio.io",
  GatewayClass: "gateway.networking.k8s.io",
  Gateway: "gateway.networking.k8s.io",
};

const subdomain = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const label = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
