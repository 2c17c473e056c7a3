/** Counts what went over a link: which TCP ports between which kinds of addresses, and whether markers showed. Pure. */
import { inPrefix, parseIp } from "../core/base/ip.ts";

export interface FrameCounts {
  /** Frames of any kind, both directions. */
  readonly frames: number;
  readonly bytes: number;
  /** Frames of any kind that held each marker. */
  readonly marked: Readonly<Record<string, number>>;
  /** TCP segments whose two addresses are pods', by port: 15008 where either end has it, else the lower one of the two. */
  readonly podSegments: Readonly<Record<string, number>>;
  /** IP packets between pods that are not TCP, by protocol number; fragments, whose ports cannot be seen, as `fragment`. */
  readonly podOther: Readonly<Record<string, number>>;
  /** Frames that the kernel had no room for: if there is one, the other numbers prove nothing. */
  readonly dropped: number;
}

export class FrameCounter {
  readonly #markers: readonly { readonly text: string; readonly bytes: Buffer }[];
  readonly #isPod: (address: Uint8Array) => boolean;
  readonly #marked = new Map<string, number>();
  readonly #segments = new Map<string, number>();
  readonly #other = new Map<string, number>();
  #frames = 0;
  #bytes = 0;

  /**
   * @param markers looked for in every byte of every frame.
   * @param pods the addresses that count as pods'; the whole pod range when missing.
   */
  constructor(markers: readonly string[], pods?: readonly string[]) {
    this.#markers = markers.map((text) => ({ text, bytes: Buffer.from(text) }));
    const named = pods && new Set(pods.map((address) => Buffer.from(parseIp(address) ?? []).toString("hex")));
    this.#isPod = named === undefined ? inPodRange : (address) => named.has(Buffer.from(address).toString("hex"));
  }

  /** @param frame link header first. */
  count(frame: Uint8Array): void {
    this.#frames++;
    this.#bytes += frame.length;
    const bytes = Buffer.from(frame.buffer, frame.byteOffset, frame.length);
    for (const marker of this.#markers) if (bytes.includes(marker.bytes)) add(this.#marked, marker.text);
    const packet = podPacket(bytes, this.#isPod);
    if (packet === undefined) return;
    if (packet.ports === undefined) add(this.#other, packet.protocol);
    else add(this.#segments, String(packet.ports.includes(hbonePort) ? hbonePort : Math.min(...packet.ports)));
  }

  counts(dropped: number): FrameCounts {
    return {
      frames: this.#frames,
      bytes: this.#bytes,
      marked: Object.fromEntries(this.#markers.map(({ text }) => [text, this.#marked.get(text) ?? 0])),
      podSegments: Object.fromEntries(this.#segments),
      podOther: Object.fromEntries(this.#other),
      dropped,
    };
  }
}

type IsPod = (address: Uint8Array) => boolean;

interface PodPacket {
  /** Its number, or `fragment`. */
  readonly protocol: string;
  /** Of TCP: source and destination. */
  readonly ports?: readonly [number, number];
}

/** Undefined for what is no IP packet between two pods. */
function podPacket(frame: Buffer, isPod: IsPod): PodPacket | undefined {
  if (frame.length < 14 + 20) return undefined;
  const type = frame.readUInt16BE(12);
  if (type === 0x0800) return ipv4(frame.subarray(14), isPod);
  if (type === 0x86dd) return ipv6(frame.subarray(14), isPod);
  return undefined;
}

function ipv4(packet: Buffer, isPod: IsPod): PodPacket | undefined {
  if (!isPod(packet.subarray(12, 16)) || !isPod(packet.subarray(16, 20))) return undefined;
  if ((packet.readUInt16BE(6) & 0x1fff) !== 0) return { protocol: "fragment" };
  return transport(packet.readUInt8(9), packet, (packet.readUInt8(0) & 15 || 5) * 4);
}

function ipv6(packet: Buffer, isPod: IsPod): PodPacket | undefined {
  if (packet.length < 40 || !isPod(packet.subarray(8, 24)) || !isPod(packet.subarray(24, 40))) return undefined;
  return transport(packet.readUInt8(6), packet, 40);
}

function transport(protocol: number, packet: Buffer, offset: number): PodPacket {
  if (protocol === 44) return { protocol: "fragment" };
  if (protocol !== 6 || packet.length < offset + 4) return { protocol: String(protocol) };
  return { protocol: "6", ports: [packet.readUInt16BE(offset), packet.readUInt16BE(offset + 2)] };
}

function inPodRange(address: Uint8Array): boolean {
  return address.length === 4 ? inPrefix(address, podRange4, 16) : inPrefix(address, podRange6, 32);
}

function add(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

const podRange4 = parseIp("10.244.0.0") ?? new Uint8Array(4);
const podRange6 = parseIp("fd00:244::") ?? new Uint8Array(16);
const hbonePort = 15008;
