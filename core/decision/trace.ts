/** How a decision came about, step by step, as plain data: cheap enough to be made for every connection, and all that `explain` needs. */
import type { CloseCode } from "./close-reasons.ts";

export type TraceStep =
  // What the target address turned out to be.
  | { readonly code: "target-is-workload"; readonly workload: string }
  | { readonly code: "target-is-service"; readonly service: string; readonly by: "vip" | "prefix" | "hostname" }
  | { readonly code: "target-is-unknown"; readonly network: string; readonly address: string }
  // Waypoints. `of` is the service or workload that has one.
  | { readonly code: "waypoint-chosen"; readonly of: string; readonly reference: string; readonly workload: string }
  | { readonly code: "waypoint-sampled"; readonly of: string; readonly reference: string; readonly weight: number }
  | { readonly code: "waypoint-unresolved"; readonly of: string; readonly reference: string }
  | { readonly code: "waypoint-is-source"; readonly of: string; readonly reference: string }
  // The waypoint of the chosen endpoint's service account, which takes what is addressed to services too.
  | { readonly code: "waypoint-of-account"; readonly service: string; readonly workload: string }
  /** `of` is the workload behind it. */
  | { readonly code: "waypoint-missed"; readonly of: string; readonly waypoint: string }
  // Endpoints.
  | { readonly code: "port-not-declared"; readonly service: string; readonly port: number }
  | ({ readonly code: "endpoints-considered"; readonly service: string } & EndpointCounts)
  | { readonly code: "endpoint-chosen"; readonly service: string; readonly workload: string; readonly port: number }
  | { readonly code: "address-chosen"; readonly workload: string; readonly address: string }
  | { readonly code: "address-missing"; readonly workload: string; readonly hostname: string }
  | { readonly code: "identity-ignored"; readonly service: string; readonly name: string }
  // Another network and the gateway to it; `gateway` is empty where none is known.
  | { readonly code: "other-network"; readonly workload: string; readonly network: string; readonly gateway: string }
  | { readonly code: "gateway-chosen"; readonly network: string; readonly reference: string; readonly workload: string }
  | { readonly code: "gateway-unresolved"; readonly network: string; readonly reference: string }
  | { readonly code: "remote-identity-missing"; readonly service: string }
  // A workload's own address inside a service's prefix: the service's endpoints take it, or a PASSTHROUGH one leaves it alone.
  | { readonly code: "prefix-balances"; readonly service: string }
  | { readonly code: "prefix-passes"; readonly service: string }
  // Why the connection goes on as it came.
  | { readonly code: "kept-as-it-is"; readonly because: "unknown-address" | "passthrough-service" }
  // Policies.
  | { readonly code: "policies-judged"; readonly judged: number; readonly allowPolicies: number }
  | { readonly code: "policy-decided"; readonly policy: string; readonly verdict: "allow" | "deny" }
  | { readonly code: "policy-unknown"; readonly policy: string }
  | { readonly code: "dry-run"; readonly policy: string; readonly verdict: "allow" | "deny" }
  // Inbound.
  | {
      readonly code: "authority-accepted";
      readonly because: "own-address" | "application-tunnel" | "fronted" | "hostname";
    }
  | { readonly code: "refused"; readonly reason: CloseCode };

/** How many endpoints were left after each question, in the order in which the questions are asked. */
export interface EndpointCounts {
  /** Workloads that name the service. */
  readonly known: number;
  /** Of those, let in by the health policy. */
  readonly healthy: number;
  /** Of those, not set aside by the caller, with capacity, reachable, and with the port. */
  readonly usable: number;
  /** Of those, in the nearest locality (all, where locality does not matter). */
  readonly nearest: number;
}
