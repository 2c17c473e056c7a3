/**
 * A cable through user space: frames that arrive at one veth end are sent from the other, as impairments.ts says. Its
 * namespace holds nothing but the two ends. Started by PID 1 (link-control.ts), as `wire.ts END END`.
 */
import { systemRandom } from "../core/base/random.ts";
import { LinuxError } from "../core/linux/errno.ts";
import { openPacketSocket, type PacketSocket } from "../core/linux/packet-socket.ts";
import { serveQuestions } from "./helper-process.ts";
import { Channel, unimpaired, type Impairments } from "./impairments.ts";

/** Frames of both directions together, since the wire was laid. */
export interface WireCounts {
  readonly carried: number;
  /** By the impairments' will. */
  readonly lost: number;
  readonly duplicated: number;
  /** Against it: the wire itself was too slow, or an end's queue was full. */
  readonly dropped: number;
}

interface Waiting {
  readonly dueMs: number;
  readonly frame: Uint8Array;
  readonly to: PacketSocket;
}

class Wire {
  readonly #ends: readonly [PacketSocket, PacketSocket];
  readonly #channels: readonly [Channel, Channel];
  /** By due time, ascending. */
  readonly #queue: Waiting[] = [];
  #timer: NodeJS.Timeout | undefined;
  #counts = { carried: 0, lost: 0, duplicated: 0, dropped: 0 };

  constructor(a: PacketSocket, b: PacketSocket) {
    this.#ends = [a, b];
    this.#channels = [new Channel(unimpaired, systemRandom), new Channel(unimpaired, systemRandom)];
    a.onFrame((frame) => this.#admit(frame, this.#channels[0], b));
    b.onFrame((frame) => this.#admit(frame, this.#channels[1], a));
  }

  change(impairments: Impairments): void {
    for (const channel of this.#channels) channel.change(impairments);
  }

  counts(): WireCounts {
    for (const end of this.#ends) this.#counts.dropped += end.dropped();
    return { ...this.#counts };
  }

  #admit(frame: Uint8Array, channel: Channel, to: PacketSocket): void {
    const nowMs = performance.now();
    const due = channel.admit(frame.length, nowMs);
    if (due.length === 0) this.#counts.lost++;
    if (due.length > 1) this.#counts.duplicated++;
    for (const dueMs of due) {
      // The bytes are the socket's: what waits is copied (a Buffer's slice would not be a copy).
      if (dueMs <= nowMs && this.#queue.length === 0) this.#send(frame, to);
      else this.#enqueue({ dueMs, frame: Buffer.from(frame), to });
    }
  }

  #enqueue(waiting: Waiting): void {
    let at = this.#queue.length;
    while (at > 0 && (this.#queue[at - 1]?.dueMs ?? 0) > waiting.dueMs) at--;
    this.#queue.splice(at, 0, waiting);
    this.#timer ??= this.#sendAt(waiting.dueMs);
    if (at !== 0) return;
    clearTimeout(this.#timer);
    this.#timer = this.#sendAt(waiting.dueMs);
  }

  #sendAt(dueMs: number): NodeJS.Timeout {
    return setTimeout(() => this.#sendDue(), Math.max(0, dueMs - performance.now()));
  }

  #sendDue(): void {
    const nowMs = performance.now();
    let sent = 0;
    for (const { dueMs, frame, to } of this.#queue) {
      if (dueMs > nowMs) break;
      this.#send(frame, to);
      sent++;
    }
    this.#queue.splice(0, sent);
    const next = this.#queue[0];
    this.#timer = next === undefined ? undefined : this.#sendAt(next.dueMs);
  }

  #send(frame: Uint8Array, to: PacketSocket): void {
    if (to.send(frame) === undefined) this.#counts.carried++;
    else this.#counts.dropped++;
  }
}

let wire: Wire | undefined;
serveQuestions((question) => {
  switch (question.kind) {
    case "begin":
      return begin();
    case "impair":
      return wire?.change((question as unknown as { impairments: Impairments }).impairments);
    default:
      return wire?.counts();
  }
});

function begin(): string | undefined {
  const [nameA = "", nameB = ""] = process.argv.slice(2);
  const a = openPacketSocket({ interface: nameA, outgoing: false });
  if (a instanceof LinuxError) return a.message;
  const b = openPacketSocket({ interface: nameB, outgoing: false });
  if (b instanceof LinuxError) return b.message;
  wire = new Wire(a, b);
  return undefined;
}
