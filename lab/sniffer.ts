/** Watches a node's link from the router's end, both directions. Started by PID 1 (link-control.ts), as `sniffer.ts INTERFACE MARKER…`. */
import { LinuxError } from "../core/linux/errno.ts";
import { openPacketSocket, type PacketSocket } from "../core/linux/packet-socket.ts";
import { FrameCounter } from "./frame-counter.ts";
import { serveQuestions } from "./helper-process.ts";

const [name = "", ...markers] = process.argv.slice(2);
const counter = new FrameCounter(markers);
let socket: PacketSocket | undefined;
let dropped = 0;

serveQuestions(({ kind }) => {
  if (kind === "begin") return begin();
  if (socket === undefined) return undefined;
  // What has gone over the link before the question counts.
  socket.flush();
  dropped += socket.dropped();
  return counter.counts(dropped);
});

function begin(): string | undefined {
  const opened = openPacketSocket({ interface: name });
  if (opened instanceof LinuxError) return opened.message;
  socket = opened;
  socket.onFrame((frame) => counter.count(frame));
  return undefined;
}
