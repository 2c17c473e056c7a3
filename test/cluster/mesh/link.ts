/** What goes over a node's link, seen from the host. */
import { LinuxError } from "../../../core/linux/errno.ts";
import { openPacketSocket } from "../../../core/linux/packet-socket.ts";
import { FrameCounter, type FrameCounts } from "../../../lab/frame-counter.ts";
import type { ClusterNode } from "../cluster.ts";

export interface LinkWatch {
  /** Of everything that went over it until now. */
  counts(): FrameCounts;
  close(): void;
}

/** @param pods only segments between these addresses are counted by port; all pods' when missing. */
export function watchLink(node: ClusterNode, markers: readonly string[], pods?: readonly string[]): LinkWatch {
  const counter = new FrameCounter(markers, pods);
  const socket = openPacketSocket({ interface: node.linkInterface });
  if (socket instanceof LinuxError) throw socket;
  let dropped = 0;
  socket.onFrame((frame) => counter.count(frame));
  return {
    counts: () => {
      socket.flush();
      dropped += socket.dropped();
      return counter.counts(dropped);
    },
    close: () => socket.close(),
  };
}
