/** TLS connections that go wrong, and what they leave behind. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import koffi from "koffi";
import type { TlsContext } from "../../core/tls/context.ts";
import { each, feed, Heard, uncut } from "./tls-machines.ts";

/** A whole number from 0 up to what is asked, without it. */
export type Draw = (below: number) => number;

/** The same numbers from the same seed. */
export function drawFrom(seed: number): Draw {
  let last = seed;
  return (below) => {
    last = (last * 48_271) % 0x7fff_ffff;
    return last % below;
  };
}

/** A connection of two machines that ends anywhere: cut off, spoilt, closed or freed; and is given back. */
export function breakSomewhere(client: TlsContext, server: TlsContext, random: Draw): void {
  const [ours, theirs] = [new Heard(client), new Heard(server)];
  ours.onSecured = () => ours.machine.write([Buffer.alloc(random(40_000))]);
  if (random(4) === 0) theirs.onReceived = () => theirs.machine.free();
  const cut = random(2) === 0 ? uncut : each(1 + random(700));
  let left = 1 + random(12_000);
  ours.machine.start();
  for (const ends = [ours, theirs]; ours.sent.length + theirs.sent.length > 0 && left > 0; ends.reverse()) {
    const octets = Buffer.concat(ends[0]!.sent.splice(0)).subarray(0, left);
    left -= octets.length;
    if (left <= 0 && random(2) === 0 && octets.length > 0) octets[random(octets.length)]! ^= 1 + random(255);
    feed(ends[1]!.machine, octets, cut);
  }
  if (random(3) === 0) ours.machine.close();
  if (random(3) === 0) theirs.machine.receiveEnd();
  ours.machine.free();
  theirs.machine.free();
}

/** Octets that are allocated by the C library at this time; it is glibc that can tell. */
export function allocated(): (() => number) | undefined {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const names = [
    "arena",
    "ordblks",
    "smblks",
    "hblks",
    "hblkhd",
    "usmblks",
    "fsmblks",
    "uordblks",
    "fordblks",
    "keepcost",
  ];
  try {
    const shape = koffi.struct(Object.fromEntries(names.map((name) => [name, "size_t"])));
    const mallinfo = koffi.load(null).func("mallinfo2", shape, []) as unknown as () => {
      uordblks: number;
      hblkhd: number;
    };
    return () => {
      collect();
      collect();
      const { uordblks, hblkhd } = mallinfo();
      return uordblks + hblkhd;
    };
  } catch {
    return undefined;
  }
}
