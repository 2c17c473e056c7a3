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

/** What tells kinds of a type apart, of fifty thousand without a look at the rest. */
export function firstOctetOf(resource: DeltaResource): number | undefined {
  return resource instanceof OnWire ? resource.firstOctet : resource.bytes[0];
}

class OnWire implements DeltaResource {
  readonly #octets: Buffer;
  readonly #parts: Parts;
  #text: string | undefined;

  constructor(octets: Buffer, parts: Parts) {
    this.#octets = octets;
    this.#parts = parts;
  }

  get name(): string {
    return (this.#text ??= this.#octets.toString("utf8", this.#parts.nameFrom, this.#parts.nameTo));
  }

  get version(): string {
    return this.#octets.toString("utf8", this.#parts.versionFrom, this.#parts.versionTo);
  }

  get firstOctet(): number | undefined {
    const { from, to } = this.#parts;
    return from < to ? this.#octets[from] : undefined;
  }

  get bytes(): Uint8Array {
    return this.#octets.subarray(this.#parts.from, this.#parts.to);
  }
}

/** Where in a response a resource's name, version and value stand. */
interface Parts {
  nameFrom: number;
  nameTo: number;
  versionFrom: number;
  versionTo: number;
  from: number;
  to: number;
}

class Reader {
  readonly #octets: Buffer;
  #at = 0;
  /** Where the part ends that was entered last; it begins where the reader then is. */
  #to = 0;

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
      if (!this.#enter(end)) return undefined;
      const to = this.#to;
      switch (tag) {
        case tags.systemVersionInfo:
        case tags.controlPlane:
          break;
        case tags.resources: {
          const parts = this.#resource(to);
          if (parts === undefined) return undefined;
          resources.push(new OnWire(this.#octets, parts));
          break;
        }
        case tags.typeUrl:
          typeUrl = this.#text(to);
          break;
        case tags.nonce:
          nonce = this.#text(to);
          break;
        case tags.removedResources:
          removed.push(this.#text(to));
          break;
        default:
          return undefined;
      }
      this.#at = to;
    }
    return { typeUrl, nonce, resources, removed };
  }

  /** What goes from here up to `end`. */
  #resource(end: number): Parts | undefined {
    const parts: Parts = { nameFrom: 0, nameTo: 0, versionFrom: 0, versionTo: 0, from: 0, to: 0 };
    while (this.#at < end) {
      const tag = this.#varint();
      if (!this.#enter(end)) return undefined;
      const to = this.#to;
      if (tag === tags.version) {
        parts.versionFrom = this.#at;
        parts.versionTo = to;
      } else if (tag === tags.name) {
        parts.nameFrom = this.#at;
        parts.nameTo = to;
      } else if (tag === tags.resource) {
        // Of two the last one counts, also where it has no value.
        parts.from = parts.to = 0;
        if (!this.#any(parts, to)) return undefined;
      } else if (tag !== tags.aliases) return undefined;
      this.#at = to;
    }
    return parts;
  }

  /** The value in it: what type it is of, the response has said. */
  #any(parts: Parts, end: number): boolean {
    while (this.#at < end) {
      const tag = this.#varint();
      if (!this.#enter(end)) return false;
      if (tag === tags.value) {
        parts.from = this.#at;
        parts.to = this.#to;
      } else if (tag !== tags.anyTypeUrl) return false;
      this.#at = this.#to;
    }
    return true;
  }

  /** Reads a length: whether there are as many octets, and not beyond `end`. */
  #enter(end: number): boolean {
    const length = this.#varint();
    this.#to = this.#at + length;
    return this.#to <= end;
  }

  #text(to: number): string {
    return this.#octets.toString("utf8", this.#at, to);
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
