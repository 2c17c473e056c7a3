/** What a worker is given with a pod, and the sockets that it accepts from, where a test has neither main thread nor node daemon. */
import { podConnectionCells } from "../../agent/pod-connections.ts";
import type { PodDelivery, PodDescriptors } from "../../agent/worker-messages.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { duplicateDescriptor, listenTcp } from "../../core/linux/sockets.ts";

/** 15001, 15006 and 15008. */
export const capturedPorts: readonly number[] = [15_001, 15_006, 15_008];

/** @returns their descriptors, in the same order; whoever asks closes them. */
export function listeningOn(address: string, ports: readonly number[] = capturedPorts, backlog = 1_024): number[] {
  return ports.map((port) => {
    const listener = listenTcp({ address, port, backlog });
    if (listener instanceof LinuxError) throw listener;
    return listener.fd;
  });
}

/** A worker's own duplicates of the sockets for 15001, 15006 and 15008. */
export function copiesOf(listeners: readonly number[]): PodDescriptors {
  const [outbound = -1, plaintext = -1, hbone = -1] = listeners.map((fd) => {
    const copy = duplicateDescriptor(fd);
    if (copy instanceof LinuxError) throw copy;
    return copy;
  });
  return { outbound, plaintext, hbone };
}

/** Of shop/web, which lives in the test's own network namespace. */
export function podDelivery(
  descriptors: PodDescriptors,
  over: Partial<Omit<PodDelivery, "descriptors">> = {},
): PodDelivery {
  return {
    uid: "pod-1",
    info: { name: "web", namespace: "shop", serviceAccount: "web" },
    netns: undefined,
    transparent: false,
    inherited: false,
    connections: podConnectionCells(),
    home: undefined,
    ...over,
    descriptors,
  };
}
