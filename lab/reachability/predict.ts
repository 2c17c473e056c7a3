/** What the mesh's own decisions say should become of a request: asked of the same code that the agents' workers ask. */
import type { Endpoint } from "../../core/base/ip.ts";
import type { Random } from "../../core/base/random.ts";
import { admit } from "../../core/decision/admit.ts";
import type { MeshState } from "../../core/decision/mesh-state.ts";
import { decideOutbound } from "../../core/decision/route.ts";
import { formatIdentity, type Identity } from "../../core/protocol/spiffe/identity.ts";
import type { MeshWorkload } from "../../core/protocol/wds/workload.ts";
import type { Outcome } from "./outcome.ts";

/** The lab is one network, and it has no name. */
const network = "";

/** @returns undefined where the mesh does not know the client, or leads to another network. */
export function predict(
  state: MeshState,
  client: MeshWorkload | undefined,
  target: Endpoint,
  random: Random,
): Outcome | undefined {
  if (client === undefined) return undefined;
  const route = decideOutbound(state, { source: client, target, network, random });
  const captured = client.tunnel === "hbone";
  switch (route.kind) {
    case "refuse":
      // Only an agent refuses; who isn't captured is not asked.
      return captured ? { kind: "refused", reason: route.reason } : { kind: "plaintext" };
    case "passthrough":
      return { kind: "plaintext" };
    case "double-hbone":
      // Who answers beyond the gateway, and whom it lets in, is known in its own network.
      return captured ? undefined : { kind: "plaintext" };
    case "direct":
    case "hbone": {
      const identity = captured && route.kind === "hbone" ? client : undefined;
      return judge(state, route.workload, client, identity, route.target);
    }
  }
}

function judge(
  state: MeshState,
  server: MeshWorkload,
  client: MeshWorkload,
  identity: Identity | undefined,
  destination: Endpoint,
): Outcome {
  const plain: Outcome =
    identity === undefined ? { kind: "plaintext" } : { kind: "hbone", identity: formatIdentity(identity) };
  // Policies, and the way through a waypoint, are enforced by the server's agent; a server without one lets everybody in.
  if (server.tunnel !== "hbone") return plain;
  const verdict = admit(state, {
    local: server,
    peerAddress: client.addresses[0] ?? "",
    destination,
    ...(identity === undefined ? {} : { peerIdentity: identity }),
  });
  if (verdict.allowed) return plain;
  return {
    kind: "refused",
    reason: verdict.reason,
    ...(verdict.policy === undefined ? {} : { policy: verdict.policy }),
  };
}
