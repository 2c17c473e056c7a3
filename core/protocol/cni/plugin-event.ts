/** What the plugin tells the node daemon: the body of `POST /cmdadd`, field names and order as istio-cni writes them. */
import { parseIp } from "../../base/ip.ts";
import type { CniAddress } from "./result.ts";

export interface PluginEvent {
  /** Path of the pod's network namespace. */
  readonly netns: string;
  readonly podName: string;
  readonly podNamespace: string;
  /** As the runtime says (K8S_POD_UID); a pod made anew under its name has another. Not a field of istio's: left out where it isn't known. */
  readonly podUid?: string;
  /** Undefined where the chain has given none. */
  readonly ips?: readonly CniAddress[];
}

export function renderPluginEvent({ netns, podName, podNamespace, podUid, ips }: PluginEvent): string {
  return JSON.stringify({
    Netns: netns,
    PodName: podName,
    PodNamespace: podNamespace,
    ...(podUid === undefined || podUid === "" ? {} : { PodUID: podUid }),
    IPs: ips === undefined || ips.length === 0 ? null : ips.map(addressObject),
  });
}

function addressObject({ interface: index, ip, prefix, gateway }: CniAddress): object {
  const length = parseIp(ip)?.length ?? 4;
  return { Interface: index ?? null, Address: { IP: ip, Mask: maskOf(prefix, length) }, Gateway: gateway ?? "" };
}

/** Base64 of the mask's bytes, as Go writes a net.IPMask. */
function maskOf(prefix: number, length: number): string {
  const bytes = Uint8Array.from({ length }, (_, at) => 0xff00 >> Math.min(8, Math.max(0, prefix - 8 * at)));
  return btoa(String.fromCharCode(...bytes));
}
