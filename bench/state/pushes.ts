/** What is pushed to agents beside their own mesh, encoded. Pure. */
import { blankMatch } from "../../control/server/model/authorization.ts";
import { DeltaDiscoveryResponse } from "../../core/protocol/generated/discovery.ts";
import { Action, Authorization, Scope, type Match } from "../../core/protocol/generated/security.ts";
import { authorizationType } from "../../core/protocol/wds/authorization.ts";
import { addressResponse, type MeshSize } from "../../test/support/large-mesh.ts";

/** How nonces of pushes begin, so that their acknowledgements are told from others. */
export const pushNonce = "bench-";

/** The mesh of the targets. */
export const largeMesh: MeshSize = { workloads: 50_000, services: 2_000, policies: 0 };

/** All of a large mesh. Versions differ in every workload, so that one after the other is a full push again. */
export function meshPush(version: "a" | "b", size = largeMesh): Uint8Array {
  return addressResponse(size, `${pushNonce}${version}`);
}

/** DENY policies for a whole namespace, each of callers that there are none of: all are judged, and none applies. */
export function policiesPush(namespace: string, count: number): Uint8Array {
  const resources = Array.from({ length: count }, (_, at) => {
    const name = `nobody-${at}`;
    const principal = `cluster.local/ns/n${at % 100}/sa/nobody-${at}`;
    const match: Match = { ...blankMatch(), principals: [{ matchType: { $case: "exact", value: principal } }] };
    const value = Authorization.encode({
      name,
      namespace,
      scope: Scope.NAMESPACE,
      action: Action.DENY,
      rules: [{ clauses: [{ matches: [match] }] }],
      dryRun: false,
      extensions: [],
    }).finish();
    return {
      name: `${namespace}/${name}`,
      version: "1",
      resource: { typeUrl: authorizationType, value: Buffer.from(value) },
    };
  });
  return response("policies", {
    resources: resources.map((one) => ({ ...one, aliases: [], ttl: undefined })),
    removedResources: [],
  });
}

/** Takes them away again. */
export function policiesRemoval(namespace: string, count: number): Uint8Array {
  const removedResources = Array.from({ length: count }, (_, at) => `${namespace}/nobody-${at}`);
  return response("no-policies", { resources: [], removedResources });
}

function response(nonce: string, content: Pick<DeltaDiscoveryResponse, "resources" | "removedResources">): Uint8Array {
  const head = { systemVersionInfo: "1", typeUrl: authorizationType, nonce: `${pushNonce}${nonce}` };
  return DeltaDiscoveryResponse.encode({ ...head, ...content }).finish();
}
