/** Small clusters for tests of what binds to which waypoint: objects in, what agents are told and what the objects say of themselves out. */
import assert from "node:assert/strict";
import { Address, type GatewayAddress, type Service, type Workload } from "../../core/protocol/generated/workload.ts";
import { decodeAddress } from "../../core/protocol/wds/address.ts";
import { WdsError } from "../../core/protocol/wds/wds-error.ts";
import type { MeshWorkload } from "../../core/protocol/wds/workload.ts";
import { defaultMeshConfig, type MeshConfig } from "../../control/server/model/inputs.ts";
import { Model } from "../../control/server/model/model.ts";
import { addressTypeUrl } from "../../control/server/model/resources.ts";
import { parseObject } from "../../control/sources/object-parsers.ts";
import type { KubeObject } from "../../control/sources/objects.ts";
import { refKey } from "../../control/sources/source.ts";

export interface BuiltModel {
  readonly model: Model;
  /** The last WaypointBound of each object that has one. */
  readonly said: Record<string, string>;
  readonly messages: Record<string, string>;
  put(object: KubeObject): void;
  remove(object: KubeObject): void;
}

export function build(...objects: KubeObject[]): BuiltModel {
  return buildWith({}, ...objects);
}

export function buildWith(config: Partial<MeshConfig>, ...objects: KubeObject[]): BuiltModel {
  const model = new Model({ ...defaultMeshConfig, ...config });
  const said: Record<string, string> = {};
  const messages: Record<string, string> = {};
  const apply = (op: "put" | "removed", list: readonly KubeObject[]): void => {
    for (const { ref, conditions } of model.apply(list.map((object) => ({ op, object }))).statuses) {
      delete said[refKey(ref)];
      for (const { status, reason, message } of conditions) {
        said[refKey(ref)] = `${status} ${reason}`;
        messages[refKey(ref)] = message ?? "";
      }
    }
  };
  apply("put", objects);
  return {
    model,
    said,
    messages,
    put: (object) => apply("put", [object]),
    remove: (object) => apply("removed", [object]),
  };
}

export function waypointOf(model: BuiltModel, name: string): GatewayAddress["destination"] {
  const destination = serviceResource(model, name).waypoint?.destination;
  return destination && (withoutUnknown(destination) as GatewayAddress["destination"]);
}

export function serviceResource({ model }: BuiltModel, name: string): Service {
  const { type } = Address.decode(model.resources(addressTypeUrl).get(`shop/${name}.shop.svc.cluster.local`)!.bytes);
  assert.ok(type?.$case === "service");
  return type.value;
}

export function workload({ model }: BuiltModel, uid: string): Workload {
  const { type } = Address.decode(model.resources(addressTypeUrl).get(uid)!.bytes);
  assert.ok(type?.$case === "workload");
  const { waypoint } = type.value;
  return { ...type.value, waypoint: waypoint && (withoutUnknown(waypoint) as GatewayAddress) };
}

/** As an agent reads it. */
export function decoded({ model }: BuiltModel, uid: string): MeshWorkload {
  const address = decodeAddress(model.resources(addressTypeUrl).get(uid)!.bytes, uid);
  assert.ok(!(address instanceof WdsError) && address.kind === "workload");
  return address.workload;
}

function withoutUnknown(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Buffer.isBuffer(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key, field]) => key !== "_unknownFields" && field !== undefined)
      .map(([key, field]) => [key, withoutUnknown(field)]),
  );
}

export function gateway(
  name: string,
  more: {
    labels?: object;
    annotations?: object;
    addresses?: object[];
    listener?: object | undefined;
    creationTimestamp?: string | undefined;
  } = {},
): KubeObject {
  const { labels = {}, annotations = {}, listener = {}, creationTimestamp } = more;
  const addresses = more.addresses ?? [
    { type: "IPAddress", value: "10.96.0.9" },
    { type: "Hostname", value: `${name}.shop.svc.cluster.local` },
  ];
  const listeners = [{ name: "mesh", port: 15008, protocol: "HBONE", ...listener }];
  const spec = { gatewayClassName: "class", listeners };
  return parse(
    "gateway.networking.k8s.io/v1",
    "Gateway",
    name,
    spec,
    { labels, annotations, creationTimestamp },
    { addresses },
  );
}

export function namespace(name: string, labels: object): KubeObject {
  return parse("v1", "Namespace", name, {}, { labels });
}

export function service(name: string, labels: object = {}, annotations: object = {}): KubeObject {
  return parse("v1", "Service", name, { ports: [{ port: 80 }] }, { labels, annotations });
}

export function account(name: string, labels: object = {}): KubeObject {
  return parse("v1", "ServiceAccount", name, {}, { labels });
}

export function pod(name: string, labels: object = {}, spec: object = {}): KubeObject {
  return parse("v1", "Pod", name, spec, { labels }, { podIP: "10.0.0.1" });
}

export function entry(name: string, labels: object): KubeObject {
  return parse("networking.istio.io/v1", "WorkloadEntry", name, { address: "192.0.2.1" }, { labels });
}

export function parse(
  apiVersion: string,
  kind: string,
  name: string,
  spec: object,
  metadata: object,
  status = {},
): KubeObject {
  const document = { apiVersion, kind, metadata: { name, namespace: "shop", ...metadata }, spec, status };
  const parsed = parseObject(document);
  assert.ok(parsed.result === "object", JSON.stringify(parsed));
  return parsed.object;
}

export const toWaypoint: GatewayAddress["destination"] = {
  $case: "hostname",
  value: { namespace: "shop", hostname: "way.shop.svc.cluster.local" },
};
