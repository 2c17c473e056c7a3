/** ServiceEntry, WorkloadEntry and Gateway. */
import { canonicalIp } from "../../core/base/ip.ts";
import { parseConditions } from "./core-parsers.ts";
import type { Fields } from "./fields.ts";
import type { EntryEndpoint, Gateway, LabelSelector, ServiceEntry, WorkloadEntry } from "./objects.ts";

export function parseWorkloadEntry(root: Fields): Pick<WorkloadEntry, "spec" | "status"> {
  return {
    spec: parseEndpoint(root.child("spec")),
    status: { conditions: parseConditions(root.child("status")) },
  };
}

export function parseServiceEntry(root: Fields): Pick<ServiceEntry, "spec" | "status"> {
  const spec = root.child("spec");
  const status = root.child("status");
  const hosts = spec.texts("hosts");
  if (hosts.length === 0) spec.fault("hosts", "is required");
  return {
    spec: {
      hosts,
      addresses: spec.ipBlocks("addresses"),
      ports: spec.children("ports").map((port) => {
        const targetPort = port.optionalInteger("targetPort", 1, 65535);
        return {
          name: port.text("name"),
          number: port.port("number"),
          protocol: port.text("protocol", "TCP"),
          ...(targetPort === undefined ? {} : { targetPort }),
        };
      }),
      resolution: spec.oneOf("resolution", ["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"], "NONE"),
      endpoints: spec.children("endpoints").map(parseEndpoint),
      workloadSelector: spec.child("workloadSelector").labels("labels"),
      subjectAltNames: spec.texts("subjectAltNames"),
    },
    status: {
      addresses: status.children("addresses").flatMap((entry) => {
        const value = canonicalIp(entry.text("value"));
        return value === undefined ? [] : { host: entry.text("host"), value };
      }),
      conditions: parseConditions(status),
    },
  };
}

export function parseGateway(root: Fields): Pick<Gateway, "spec" | "status"> {
  const spec = root.child("spec");
  return {
    spec: {
      gatewayClassName: spec.text("gatewayClassName"),
      listeners: spec.children("listeners").map((listener) => {
        const namespaces = listener.child("allowedRoutes").child("namespaces");
        return {
          name: listener.text("name"),
          port: listener.port("port"),
          protocol: listener.text("protocol"),
          allowedRoutes: {
            from: namespaces.text("from", "Same"),
            selector: parseLabelSelector(namespaces.child("selector")),
          },
        };
      }),
    },
    status: {
      addresses: root
        .child("status")
        .children("addresses")
        .map((address) => ({ type: address.text("type", "IPAddress"), value: address.text("value") })),
    },
  };
}

function parseLabelSelector(selector: Fields): LabelSelector {
  return {
    matchLabels: selector.labels("matchLabels"),
    matchExpressions: selector.children("matchExpressions").map((expression) => ({
      key: expression.text("key"),
      operator: expression.oneOf("operator", ["In", "NotIn", "Exists", "DoesNotExist"], "In"),
      values: expression.texts("values"),
    })),
  };
}

function parseEndpoint(endpoint: Fields): EntryEndpoint {
  const address = endpoint.text("address");
  const weight = endpoint.optionalInteger("weight", 0, 0xffff_ffff);
  const ports = endpoint.child("ports");
  return {
    address: canonicalIp(address) ?? address,
    ports: Object.fromEntries(Object.keys(endpoint.record("ports")).map((name) => [name, ports.port(name)])),
    labels: endpoint.labels("labels"),
    network: endpoint.text("network"),
    locality: endpoint.text("locality"),
    serviceAccount: endpoint.text("serviceAccount"),
    ...(weight === undefined ? {} : { weight }),
  };
}
