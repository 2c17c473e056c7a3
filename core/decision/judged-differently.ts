/** Which changes of records can change who may enter a pod: their open connections are judged again (agent-wire 7.5, beating B10). */
import type { PortMapping } from "../protocol/wds/fields.ts";
import type { GatewayRef } from "../protocol/wds/gateway.ts";
import type { MeshService } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import { describeGateway } from "./gateway.ts";

/** A workload's connections: by other policies, or by another waypoint that they must have come through. */
export function isJudgedDifferently(before: MeshWorkload, after: MeshWorkload): boolean {
  return (
    before.namespace !== after.namespace ||
    // Of a full push most are the same objects: nothing is made to find out.
    (before.policies !== after.policies && !isSameList(before.policies, after.policies)) ||
    (before.waypoint !== after.waypoint && textOf(before.waypoint) !== textOf(after.waypoint)) ||
    (before.services !== after.services && !isSameServices(before.services, after.services))
  );
}

/** Connections to a service's endpoints: before or after the change it asks for a waypoint, and not for the same one on the same ports. */
export function demandsOtherwise(before: MeshService | undefined, after: MeshService | undefined): boolean {
  if (before?.waypointRequired !== true && after?.waypointRequired !== true) return false;
  return before?.waypointRequired !== after?.waypointRequired || demandText(before) !== demandText(after);
}

function demandText(service: MeshService | undefined): string {
  if (service === undefined) return "";
  const weighted = service.weightedWaypoints.map(({ destination }) => textOf(destination));
  const ports = service.ports.map(({ servicePort, targetPort }) => `${servicePort}:${targetPort}`);
  return [textOf(service.waypoint), ...weighted, ...ports].join(" ");
}

function textOf(reference: GatewayRef | undefined): string {
  return reference === undefined ? "" : describeGateway(reference);
}

function isSameList(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((key, at) => key === other[at]);
}

function isSameServices(one: MeshWorkload["services"], other: MeshWorkload["services"]): boolean {
  if (one.size !== other.size) return false;
  for (const [key, ports] of one) if (!isSameMapping(ports, other.get(key))) return false;
  return true;
}

function isSameMapping(one: readonly PortMapping[], other: readonly PortMapping[] | undefined): boolean {
  return (
    one.length === other?.length &&
    one.every(
      ({ servicePort, targetPort }, at) =>
        servicePort === other[at]?.servicePort && targetPort === other[at].targetPort,
    )
  );
}
