/** A made-up mesh as control would send it: delta responses on the wire, of the size that a cluster's are. */
import { blankMatch } from "../../control/server/model/authorization.ts";
import { Action, Authorization, Scope, type StringMatch } from "../../core/protocol/generated/security.ts";
import { DeltaDiscoveryResponse } from "../../core/protocol/generated/discovery.ts";
import { Address, type Port } from "../../core/protocol/generated/workload.ts";
import { addressType } from "../../core/protocol/wds/address.ts";
import { authorizationType } from "../../core/protocol/wds/authorization.ts";

export interface MeshSize {
  readonly workloads: number;
  readonly services: number;
  readonly policies: number;
}

/** The first answer to a wildcard subscription: everything, services first. About 520 bytes a workload. */
export function addressResponse({ workloads, services }: MeshSize, version = "1"): Uint8Array {
  const resources = [];
  for (let at = 0; at < services; at++) resources.push(serviceAt(at));
  for (let at = 0; at < workloads; at++) resources.push(workloadAt(at, Math.max(1, services), version));
  return response(addressType, version, resources);
}

/** Half of them of a namespace, half of those workloads that list them; each admits two principals on one port. */
export function policyResponse({ policies }: MeshSize, version = "1"): Uint8Array {
  const resources = Array.from({ length: policies }, (_, at) => {
    const namespace = namespaceOf(at);
    const name = `allow-${at}`;
    const callers = [`n${at % 50}/sa/caller-${at}`, `n${at % 50}/sa/other-${at}`];
    const bytes = Authorization.encode({
      name,
      namespace,
      scope: at % 2 === 0 ? Scope.NAMESPACE : Scope.WORKLOAD_SELECTOR,
      action: Action.ALLOW,
      rules: [
        {
          clauses: [
            {
              matches: callers.map((caller) => ({
                ...blankMatch(),
                principals: [exactly(`cluster.local/ns/${caller}`)],
              })),
            },
            { matches: [{ ...blankMatch(), destinationPorts: [8080 + (at % 7)] }] },
          ],
        },
      ],
      dryRun: false,
      extensions: [],
    }).finish();
    return { name: `${namespace}/${name}`, bytes };
  });
  return response(authorizationType, version, resources);
}

interface Named {
  readonly name: string;
  readonly bytes: Uint8Array;
}

function response(typeUrl: string, version: string, resources: readonly Named[]): Uint8Array {
  return DeltaDiscoveryResponse.encode({
    systemVersionInfo: version,
    typeUrl,
    nonce: version,
    resources: resources.map(({ name, bytes }, at) => ({
      name,
      version: `${version}.${at}`,
      resource: { typeUrl, value: Buffer.from(bytes) },
      aliases: [],
      ttl: undefined,
    })),
    removedResources: [],
  }).finish();
}

function workloadAt(at: number, services: number, version: string): Named {
  const service = at % services;
  const namespace = namespaceOf(service);
  const app = appOf(service);
  const name = `${app}-${(0x5c9f3b + service).toString(36)}-${(0x1a2b3c + at * 7).toString(36)}`;
  const uid = `cluster-eu-1//Pod/${namespace}/${name}`;
  const zone = `eu-central-1${"abc"[at % 3] ?? ""}`;
  const bytes = Address.encode({
    type: {
      $case: "workload",
      value: {
        uid,
        name,
        namespace,
        addresses: [addressAt(10, 64, at)],
        network: "network-1",
        tunnelProtocol: 1,
        trustDomain: "",
        serviceAccount: `${app}-account`,
        waypoint: undefined,
        node: `ip-10-20-${(at >> 1) % 250}-17.eu-central-1.compute.internal`,
        canonicalName: app,
        canonicalRevision: `v${version}`,
        workloadType: 0,
        workloadName: app,
        nativeTunnel: false,
        authorizationPolicies: at % 10 === 0 ? [`${namespace}/allow-${service - (service % 2) + 1}`] : [],
        status: at % 50 === 0 ? 1 : 0,
        clusterId: "cluster-eu-1",
        networkGateway: undefined,
        hostname: "",
        services: { [keyOf(service)]: { ports: portsOf(service) } },
        applicationTunnel: undefined,
        locality: { region: "eu-central-1", zone, subzone: "" },
        networkMode: 0,
        extensions: [],
        capacity: 1,
      },
    },
  }).finish();
  return { name: uid, bytes };
}

function serviceAt(at: number): Named {
  const namespace = namespaceOf(at);
  const hostname = hostnameOf(at);
  const bytes = Address.encode({
    type: {
      $case: "service",
      value: {
        name: appOf(at),
        namespace,
        hostname,
        addresses: [{ network: "network-1", address: addressAt(172, 20, at), length: undefined }],
        ports: portsOf(at),
        subjectAltNames: [],
        waypoint: undefined,
        loadBalancing: undefined,
        ipFamilies: 1,
        extensions: [],
        canonical: true,
        ingressUseWaypoint: false,
        weightedWaypoints: [],
        visibility: 0,
      },
    },
  }).finish();
  return { name: `${namespace}/${hostname}`, bytes };
}

function portsOf(at: number): Port[] {
  return [
    { servicePort: 80, targetPort: 8080 + (at % 5), appProtocol: 1 },
    { servicePort: 9090, targetPort: 9090, appProtocol: 0 },
  ];
}

function namespaceOf(service: number): string {
  return `team-${service % 100}-apps`;
}

function appOf(service: number): string {
  return `service-${service}-backend`;
}

function hostnameOf(service: number): string {
  return `${appOf(service)}.${namespaceOf(service)}.svc.cluster.local`;
}

function keyOf(service: number): string {
  return `${namespaceOf(service)}/${hostnameOf(service)}`;
}

function addressAt(first: number, second: number, at: number): Buffer {
  return Buffer.from([first, second + (at >> 16), (at >> 8) & 255, at & 255]);
}

function exactly(value: string): StringMatch {
  return { matchType: { $case: "exact", value } };
}
