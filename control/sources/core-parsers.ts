/** Nodes, pods, services and endpoint slices: field by field, with the API server's defaults. */
import { canonicalIp } from "../../core/base/ip.ts";
import type { Fields } from "./fields.ts";
import type { Condition, Container, EndpointSlice, Node, Pod, Service, ServicePort } from "./objects.ts";

export function parseNode(root: Fields): Pick<Node, "spec"> {
  const spec = root.child("spec");
  const podCIDRs = spec.texts("podCIDRs");
  return { spec: { podCIDRs: podCIDRs.length > 0 ? podCIDRs : [spec.optionalText("podCIDR") ?? []].flat() } };
}

export function parsePod(root: Fields): Pick<Pod, "spec" | "status"> {
  const spec = root.child("spec");
  const status = root.child("status");
  const hostIP = status.optionalText("hostIP");
  return {
    spec: {
      nodeName: spec.text("nodeName"),
      serviceAccountName: spec.text("serviceAccountName", "default"),
      hostNetwork: spec.flag("hostNetwork"),
      restartPolicy: spec.oneOf("restartPolicy", ["Always", "OnFailure", "Never"], "Always"),
      containers: spec.children("containers").map(parseContainer),
      initContainers: spec.children("initContainers").map(parseContainer),
    },
    status: {
      phase: status.text("phase", "Pending"),
      podIPs: parsePodIps(status),
      conditions: parseConditions(status),
      ...(hostIP === undefined ? {} : { hostIP }),
    },
  };
}

export function parseService(root: Fields): Pick<Service, "spec" | "status"> {
  const spec = root.child("spec");
  const clusterIP = spec.text("clusterIP");
  const listed = spec.texts("clusterIPs");
  const clusterIPs = listed.length > 0 ? listed : clusterIP === "" ? [] : [clusterIP];
  const headless = clusterIPs[0] === "None";
  const ipFamilyPolicy = spec.optionalText("ipFamilyPolicy");
  const trafficDistribution = spec.optionalText("trafficDistribution");
  const ports = spec.children("ports");
  if (ports.length > 1) {
    for (const port of ports) if (!port.has("name")) port.fault("name", "is required where there are several ports");
  }
  return {
    spec: {
      type: spec.text("type", "ClusterIP"),
      clusterIPs: headless
        ? []
        : clusterIPs.flatMap((text) => {
            const address = canonicalIp(text);
            if (address === undefined) spec.fault("clusterIP", `must be an IP address or None, not "${text}"`);
            return address ?? [];
          }),
      headless,
      ipFamilies: spec.texts("ipFamilies").flatMap((family) => {
        if (family === "IPv4" || family === "IPv6") return family;
        spec.fault("ipFamilies", `must be IPv4 or IPv6, not "${family}"`);
        return [];
      }),
      selector: spec.labels("selector"),
      ports: ports.map(parseServicePort),
      internalTrafficPolicy: spec.text("internalTrafficPolicy", "Cluster"),
      publishNotReadyAddresses: spec.flag("publishNotReadyAddresses"),
      ...(ipFamilyPolicy === undefined ? {} : { ipFamilyPolicy }),
      ...(trafficDistribution === undefined ? {} : { trafficDistribution }),
    },
    status: { conditions: parseConditions(root.child("status")) },
  };
}

/** @param namespace of the slice: endpoints name their pods without one more often than with. */
export function parseEndpointSlice(
  root: Fields,
  namespace: string,
): Pick<EndpointSlice, "addressType" | "endpoints" | "ports"> {
  return {
    addressType: root.text("addressType", "IPv4"),
    endpoints: root.children("endpoints").map((endpoint) => {
      const conditions = endpoint.child("conditions");
      const targetRef = endpoint.child("targetRef");
      return {
        addresses: endpoint.texts("addresses").map((text) => canonicalIp(text) ?? text),
        // Unknown is to be read as ready (discovery.k8s.io/v1, EndpointConditions.ready).
        ready: !conditions.has("ready") || conditions.flag("ready"),
        ...(endpoint.has("targetRef")
          ? {
              targetRef: {
                kind: targetRef.text("kind"),
                namespace: targetRef.text("namespace", namespace),
                name: targetRef.text("name"),
                uid: targetRef.text("uid"),
              },
            }
          : {}),
      };
    }),
    ports: root.children("ports").map((port) => {
      const number = port.optionalInteger("port", 1, 65535);
      return {
        name: port.text("name"),
        protocol: port.text("protocol", "TCP"),
        ...(number === undefined ? {} : { port: number }),
      };
    }),
  };
}

export function parseConditions(status: Fields): Condition[] {
  return status.children("conditions").map((condition) => {
    const reason = condition.optionalText("reason");
    const message = condition.optionalText("message");
    const lastTransitionTime = condition.optionalText("lastTransitionTime");
    return {
      type: condition.text("type"),
      status: condition.text("status"),
      ...(reason === undefined ? {} : { reason }),
      ...(message === undefined ? {} : { message }),
      ...(lastTransitionTime === undefined ? {} : { lastTransitionTime }),
    };
  });
}

function parsePodIps(status: Fields): string[] {
  const single = status.text("podIP");
  const listed = status.children("podIPs").map((entry) => entry.text("ip"));
  const texts = listed.length > 0 ? listed : single === "" ? [] : [single];
  return texts.flatMap((text) => {
    const address = canonicalIp(text);
    if (address === undefined) status.fault("podIPs", `must be IP addresses, not "${text}"`);
    return address ?? [];
  });
}

function parseContainer(container: Fields): Container {
  const restartPolicy = container.optionalText("restartPolicy");
  return {
    name: container.text("name"),
    command: container.texts("command"),
    args: container.texts("args"),
    env: container.children("env").map((variable) => ({ name: variable.text("name"), value: variable.text("value") })),
    ports: container.children("ports").map((port) => ({
      name: port.text("name"),
      containerPort: port.port("containerPort"),
      protocol: port.text("protocol", "TCP"),
    })),
    ...(restartPolicy === undefined ? {} : { restartPolicy }),
  };
}

function parseServicePort(port: Fields): ServicePort {
  const number = port.port("port");
  const appProtocol = port.optionalText("appProtocol");
  return {
    name: port.text("name"),
    port: number,
    targetPort: port.textOrInteger("targetPort") ?? number,
    protocol: port.text("protocol", "TCP"),
    ...(appProtocol === undefined ? {} : { appProtocol }),
  };
}
