/** The objects of a scene. Pure. */
import { authorizationPolicy, namespace, peerAuthentication, pod, type Manifest } from "../test/support/manifests.ts";
import type { SideName } from "./side.ts";

/** Two pods a side that only wait, each under a service account of its own; ours in the mesh, with policies that let the client pass. */
export function sceneManifests(sides: readonly SideName[]): Manifest[] {
  const spaces = sides.flatMap((side) => {
    const ns = `bench-${side}`;
    return [
      namespace(ns, { ambient: side === "ours" }),
      pod(`${ns}/client`, { node: "node1", command: waiting, ports: [] }),
      pod(`${ns}/server`, { node: "node2", command: waiting, ports: [] }),
    ];
  });
  return sides.includes("ours") ? [...spaces, ...policies] : spaces;
}

const waiting = ["sleep", "infinity"];

/** One of each kind, so that a connection is judged as it is where people have policies. */
const policies: readonly Manifest[] = [
  peerAuthentication("bench-ours/strict", "STRICT"),
  authorizationPolicy("bench-ours/strangers", {
    action: "DENY",
    rules: [
      { from: [{ source: { notNamespaces: ["bench-ours"] } }] },
      { from: [{ source: { principals: ["cluster.local/ns/bench-ours/sa/intruder"] } }] },
    ],
  }),
  authorizationPolicy("bench-ours/admin-port", {
    selector: { matchLabels: { app: "server" } },
    action: "DENY",
    rules: [{ to: [{ operation: { ports: ["9999"] } }] }],
  }),
  authorizationPolicy("bench-ours/client", {
    selector: { matchLabels: { app: "server" } },
    action: "ALLOW",
    rules: [{ from: [{ source: { principals: ["cluster.local/ns/bench-ours/sa/client"] } }] }],
  }),
];
