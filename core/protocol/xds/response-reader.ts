/**
 * A delta response as it came, without a copy of what is in it: of a push of fifty thousand resources, what each says is looked at
 * when it is its turn. What is out of the ordinary goes through the generated decoder.
 */
import { DeltaDiscoveryResponse } from "../generated/discovery.ts";
import type { DeltaResource, DeltaUpdate } from "./delta-client.ts";

/** @throws where the octets are no such message. */
export function readDeltaResponse(octets: Buffer): DeltaUpdate {
  return new Reader(octets).response() ?? updateOf(DeltaDiscoveryResponse.decode(octets));
}

/** The update in a response. */
export function updateOf({ typeUrl, nonce, resources, removedResources }: DeltaDiscoveryResponse): DeltaUpdate {
  return {
    typeUrl,
    nonce,
    resources: resources.map(({ name, version, resource }) => ({
      name,
      version,
      bytes: resource?.value ?? new Uint8Array(0),
    })),
    removed: removedResources,
  };
}

interface Range {
  readonly from: number;
  readonly to: number;
}

class OnWire implements DeltaResource {
  readonly #octets: Buffer;
  readonly #name: Range;
  readonly #version: Range;
  readonly #from: number;
  readonly #to: number;
  #text: string | undefined;

  constructor(octets: Buffer, name: Range, version: Range, value: Range) {
    this.#octets = octets;
    this.#name = name;
    this.#version = version;
    this.#from = value.from;
    this.#to = value.to;
  }

  get name(): string {
    return (this.#text ??= textOf(this.#octets, this.#name));
  }

  get version(): string {
    return textOf(this.#octets, this.#version);
  }

  get bytes(): Uint8Array {
    return this.#octets.subarray(this.#from, this.#to);
  }
}

class Reader {
  readonly #octets: Buffer;
  #at = 0;

  constructor(octets: Buffer) {
    this.#octets = octets;
  }

  /** Undefined for whatever is not quite ordinary. */
  response(): DeltaUpdate | undefined {
    const resources: DeltaResource[] = [];
    const removed: string[] = [];
    let [typeUrl, nonce] = ["", ""];
    const end = this.#octets.length;
    while (this.#at < end) {
      const tag = this.#varint();
      const part = this.#range(end);
      if (part === undefined) return undefined;
      switch (tag) {
        case tags.systemVersionInfo:
        case tags.controlPlane:
          break;
        case tags.resources: {
          const resource = this.#resource(part);
          if (resource === undefined) return undefined;
          resources.push(resource);
          break;
        }
        case tags.typeUrl:
          typeUrl = textOf(this.#octets, part);
          break;
        case tags.nonce:
          nonce = textOf(this.#octets, part);
          break;
        case tags.removedResources:
          removed.push(textOf(this.#octets, part));
          break;
        default:
          return undefined;
      }
      this.#at = part.to;
    }
    return { typeUrl, nonce, resources, removed };
  }

  #resource({ from, to }: Range): DeltaResource | undefined {
    let [name, version, value] = [empty, empty, empty];
    this.#at = from;
    while (this.#at < to) {
      const tag = this.#varint();
      const part = this.#range(to);
      if (part === undefined) return undefined;
      if (tag === tags.version) version = part;
      else if (tag === tags.name) name = part;
      else if (tag === tags.resource) {
        const any = this.#any(part);
        if (any === undefined) return undefined;
        value = any;
      } else if (tag !== tags.aliases) return undefined;
      this.#at = part.to;
    }
    return new OnWire(this.#octets, name, version, value);
  }

  /** The value in it: what type it is of, the response has said. */
  #any({ from, to }: Range): Range | undefined {
    let value = empty;
    this.#at = from;
    while (this.#at < to) {
      const tag = this.#varint();
      const part = this.#range(to);
      if (part === undefined) return undefined;
      if (tag === tags.value) value = part;
      else if (tag !== tags.anyTypeUrl) return undefined;
      this.#at = part.to;
    }
    return value;
  }

  /** A length and as many octets, not beyond `end`. */
  #range(end: number): Range | undefined {
    const length = this.#varint();
    const from = this.#at;
    return from + length <= end ? { from, to: from + length } : undefined;
  }

  /** Of up to four octets; one that is longer comes out as more than there can be. */
  #varint(): number {
    let value = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const octet = this.#octets[this.#at++] ?? 0;
      value |= (octet & 0x7f) << shift;
      if (octet < 0x80) return value;
    }
    return Infinity;
  }
}

function textOf(octets: Buffer, { from, to }: Range): string {
  return octets.toString("utf8", from, to);
}

const empty: Range = { from: 0, to: 0 };
/** Field number and wire type 2 in one. What aliases there are, and who control is (field 7, not in our .proto file), nobody here asks. */
const tags = {
  systemVersionInfo: 0x0a,
  resources: 0x12,
  typeUrl: 0x22,
  nonce: 0x2a,
  removedResources: 0x32,
  version: 0x0a,
  resource: 0x12,
  name: 0x1a,
  aliases: 0x22,
  controlPlane: 0x3a,
  anyTypeUrl: 0x0a,
  value: 0x12,
};
