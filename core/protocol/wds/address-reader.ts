/**
 * Addresses off the wire at the pace of a full push: `decodeAddress`, for what is sent as everybody sends it, without a message in
 * between and with everything shared that workloads have in common. What is out of the ordinary in any way goes through
 * `decodeAddress` itself, which alone says what is wrong with it; address-reader.test.ts holds the two against each other.
 */
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { Interned } from "../../base/interned.ts";
import { formatIp } from "../../base/ip.ts";
import {
  GatewayAddress,
  Locality as LocalityMessage,
  Workload,
  Workload_ServicesEntry,
  type PortList,
} from "../generated/workload.ts";
import { decodeAddress, type MeshAddress } from "./address.ts";
import { CompactWorkload, isSameTraits, type WorkloadTraits } from "./compact-workload.ts";
import { gatewayOf, type GatewayRef } from "./gateway.ts";
import { WdsError } from "./wds-error.ts";
import { servicesOf, workloadWords, type Locality, type MeshWorkload } from "./workload.ts";

export class AddressReader {
  readonly #texts = new Interned(16_384, textIn);
  readonly #services = new Interned(8_192, servicesIn);
  readonly #policies = new Interned(1_024, policiesIn);
  readonly #gateways = new Interned(256, gatewayIn);
  readonly #localities = new Interned(256, localityIn);
  readonly #traits = new Array<WorkloadTraits | undefined>(traitPlaces).fill(undefined);
  readonly #known: KnownWorkloads;
  /** One for all, one after the other. */
  readonly #draft: Draft = { ...emptyDraft, traits: { ...noTraits } };
  #octets: Buffer = noOctets;
  #at = 0;
  /** Of what it may share with others, as far as it has been read. */
  #mix = 0;

  /** @param known what is held of a workload already: of its texts those that have not changed are held on, and no second time. */
  constructor(known: KnownWorkloads = () => undefined) {
    this.#known = known;
  }

  /** What `decodeAddress` makes of the octets from `start` to `end`. */
  read(octets: Buffer, start: number, end: number, name?: string): MeshAddress | WdsError {
    this.#octets = octets;
    this.#at = start;
    this.#mix = 0;
    const isWorkload = this.#varint() === workloadTag && this.#varint() === end - this.#at;
    const workload = isWorkload ? this.#workload(end) : undefined;
    this.#octets = noOctets;
    if (workload !== undefined && (name === undefined || workload.uid === name)) return { kind: "workload", workload };
    return decodeAddress(octets.subarray(start, end), name);
  }

  /** Undefined for whatever is not quite ordinary. */
  #workload(end: number): MeshWorkload | undefined {
    const draft = this.#draft;
    begin(draft);
    while (this.#at < end) {
      const tagAt = this.#at;
      const tag = this.#varint();
      if ((tag & 7) === 0) {
        // One octet: no flag, and no enum of which there is a word, needs more.
        const value = this.#octets[this.#at++] ?? 0x80;
        if (value >= 0x80 || !takeNumber(draft, tag >>> 3, value)) return undefined;
      } else if ((tag & 7) === 2) {
        const length = this.#varint();
        const from = this.#at;
        this.#at = from + length;
        if (this.#at > end || !this.#takeOctets(draft, tag >>> 3, from, tagAt)) return undefined;
      } else {
        return undefined;
      }
    }
    return this.#at === end ? this.#built(draft) : undefined;
  }

  /** A field whose tag is at `tagAt` and whose octets go from `from` up to here. */
  #takeOctets(draft: Draft, field: number, from: number, tagAt: number): boolean {
    const octets = this.#octets;
    const to = this.#at;
    switch (field) {
      case 1:
        [draft.nameFrom, draft.nameTo] = [from, to];
        return isAscii(octets, from, to);
      case 3:
        return addressInto(draft, octets, from, to);
      case 8:
        return (draft.traits.waypoint = this.#shared(this.#gateways, from, to)) !== undefined;
      case 9: {
        // Not shared: the pods of a deployment are on many nodes.
        const node = this.#interned(this.#texts, from, to);
        if (node !== undefined) draft.node = node;
        return node !== undefined;
      }
      case 16:
        if (draft.policies.to >= 0 && draft.policies.to !== tagAt) return false;
        draft.policies = { from: draft.policies.to < 0 ? tagAt : draft.policies.from, to };
        return true;
      case 19:
        return (draft.traits.networkGateway = this.#shared(this.#gateways, from, to)) !== undefined;
      case 20:
        [draft.uidFrom, draft.uidTo] = [from, to];
        return isAscii(octets, from, to);
      case 22:
        if (draft.services.to >= 0 && draft.services.to !== tagAt) return false;
        draft.services = { from: draft.services.to < 0 ? tagAt : draft.services.from, to };
        return true;
      case 24: {
        const locality = this.#interned(this.#localities, from, to);
        if (locality !== undefined) draft.locality = locality;
        return locality !== undefined;
      }
      case 27: {
        // A UInt32Value: without its field it is 0.
        const value = to === from + 2 && octets[from] === 8 ? (octets[from + 1] ?? 0x80) : to === from ? 0 : 0x80;
        draft.traits.capacity = value;
        return value < 0x80;
      }
    }
    const text = this.#shared(this.#texts, from, to);
    return text !== undefined && takeText(draft.traits, field, text);
  }

  #built(draft: Draft): MeshWorkload | undefined {
    const { traits, uidFrom, uidTo, nameFrom, nameTo, addresses, node, locality, healthy } = draft;
    if (uidTo === uidFrom || traits.namespace === "") return undefined;
    const services = draft.services.to < 0 ? noServices : this.#inRange(this.#services, draft.services);
    const policies = draft.policies.to < 0 ? none : this.#inRange(this.#policies, draft.policies);
    if (services === undefined || policies === undefined) return undefined;
    traits.services = services;
    traits.policies = policies;
    const uid = this.#octets.toString("latin1", uidFrom, uidTo);
    // A pod's uid ends with its name: then the two share one text.
    const end = uid.slice(Math.max(0, uid.length - (nameTo - nameFrom)));
    const name = isText(end, this.#octets, nameFrom, nameTo) ? end : this.#octets.toString("latin1", nameFrom, nameTo);
    const before = this.#known(uid);
    const own = {
      uid: before?.uid ?? uid,
      name: before?.name === name ? before.name : name,
      addresses: before && isSameList(before.addresses, addresses) ? before.addresses : addresses,
      node,
      locality,
      healthy,
    };
    return new CompactWorkload(own, this.#sharedTraits(traits));
  }

  #sharedTraits(traits: WorkloadTraits): WorkloadTraits {
    const place = (this.#mix ^ (this.#mix >>> 13)) & (traitPlaces - 1);
    const known = this.#traits[place];
    return known !== undefined && isSameTraits(known, traits) ? known : (this.#traits[place] = { ...traits });
  }

  #inRange<T>(table: Interned<T>, { from, to }: Range): T | undefined {
    return this.#shared(table, from, to, longestRange);
  }

  #shared<T>(table: Interned<T>, from: number, to: number, longest = longestText): T | undefined {
    const value = this.#interned(table, from, to, longest);
    this.#mix = Math.imul(this.#mix, 31) + table.hash;
    return value;
  }

  /** A table holds so many values whatever they are: one of any length could make it hold any amount. */
  #interned<T>(table: Interned<T>, from: number, to: number, longest = longestText): T | undefined {
    return to - from > longest ? undefined : table.of(this.#octets, from, to);
  }

  /** Of up to three octets; one that is longer comes out as more than there can be. */
  #varint(): number {
    const octets = this.#octets;
    let value = octets[this.#at++] ?? 0;
    if (value < 0x80) return value;
    value = (value & 0x7f) | ((octets[this.#at++] ?? 0) << 7);
    if (value < 0x4000) return value;
    value = (value & 0x3fff) | ((octets[this.#at++] ?? 0) << 14);
    return value < 0x200000 ? value : Infinity;
  }
}

/** By uid. */
export type KnownWorkloads = (uid: string) => MeshWorkload | undefined;

interface Range {
  readonly from: number;
  /** -1: nothing of the kind. */
  readonly to: number;
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

/** A workload as far as it has been read. */
interface Draft {
  uidFrom: number;
  uidTo: number;
  nameFrom: number;
  nameTo: number;
  /** Entries that stand together, with their tags. */
  policies: Range;
  services: Range;
  addresses: readonly string[];
  node: string;
  locality: Locality;
  healthy: boolean;
  readonly traits: Mutable<WorkloadTraits>;
}

/** Field by field: an object for each of fifty thousand workloads is what the collector would stop for. */
function begin(draft: Draft): void {
  const { traits } = draft;
  draft.uidFrom = draft.uidTo = draft.nameFrom = draft.nameTo = 0;
  draft.policies = draft.services = noRange;
  draft.addresses = none;
  draft.node = "";
  draft.locality = nowhere;
  draft.healthy = true;
  traits.namespace = traits.network = traits.canonicalName = traits.canonicalRevision = "";
  traits.workloadName = traits.hostname = "";
  traits.tunnel = noTraits.tunnel;
  traits.trustDomain = noTraits.trustDomain;
  traits.serviceAccount = noTraits.serviceAccount;
  traits.clusterId = noTraits.clusterId;
  traits.workloadType = noTraits.workloadType;
  traits.waypoint = traits.networkGateway = undefined;
  traits.nativeTunnel = traits.hostNetwork = false;
  traits.policies = none;
  traits.services = noServices;
  traits.capacity = noTraits.capacity;
}

function takeText(traits: Mutable<WorkloadTraits>, field: number, text: string): boolean {
  switch (field) {
    case 2:
      traits.namespace = text;
      return true;
    case 4:
      traits.network = text;
      return true;
    case 6:
      traits.trustDomain = text || noTraits.trustDomain;
      return true;
    case 7:
      traits.serviceAccount = text || noTraits.serviceAccount;
      return true;
    case 10:
      traits.canonicalName = text;
      return true;
    case 11:
      traits.canonicalRevision = text;
      return true;
    case 13:
      traits.workloadName = text;
      return true;
    case 18:
      traits.clusterId = text || noTraits.clusterId;
      return true;
    case 21:
      traits.hostname = text;
      return true;
  }
  return false;
}

function takeNumber(draft: Draft, field: number, value: number): boolean {
  const { traits } = draft;
  switch (field) {
    case 5: {
      const word = workloadWords.tunnels[value];
      if (word !== undefined) traits.tunnel = word;
      return word !== undefined;
    }
    case 12: {
      const word = workloadWords.kinds[value];
      if (word !== undefined) traits.workloadType = word;
      return word !== undefined;
    }
    case 14:
      traits.nativeTunnel = value !== 0;
      return true;
    case 17:
      draft.healthy = workloadWords.statuses[value] === "healthy";
      return workloadWords.statuses[value] !== undefined;
    case 25:
      traits.hostNetwork = workloadWords.networkModes[value] === "host";
      return workloadWords.networkModes[value] !== undefined;
  }
  return false;
}

/** Undefined where a text is not of ASCII alone. */
function textIn(octets: Buffer, from: number, to: number): string | undefined {
  return isAscii(octets, from, to) ? octets.toString("latin1", from, to) : undefined;
}

function servicesIn(octets: Buffer, from: number, to: number): WorkloadTraits["services"] | undefined {
  const reader = new BinaryReader(octets.subarray(from, to));
  const entries: Record<string, PortList> = {};
  try {
    while (reader.pos < reader.len) {
      reader.uint32();
      const length = reader.uint32();
      const end = reader.pos + length;
      const { key, value } = Workload_ServicesEntry.decode(reader, length);
      // One that ends early leaves octets that the workload itself would read.
      if (reader.pos !== end) return undefined;
      if (value !== undefined) entries[key] = value;
    }
  } catch {
    return undefined;
  }
  const services = servicesOf(entries);
  return services instanceof WdsError ? undefined : services;
}

function policiesIn(octets: Buffer, from: number, to: number): readonly string[] | undefined {
  return messageIn(Workload, octets, from, to)?.authorizationPolicies;
}

function gatewayIn(octets: Buffer, from: number, to: number): GatewayRef | undefined {
  const gateway = gatewayOf("gateway", messageIn(GatewayAddress, octets, from, to));
  return gateway instanceof WdsError ? undefined : gateway;
}

function localityIn(octets: Buffer, from: number, to: number): Locality | undefined {
  const message = messageIn(LocalityMessage, octets, from, to);
  return message && { region: message.region, zone: message.zone, subzone: message.subzone };
}

/** What cannot be decoded by itself, or ends early, is looked at again as a part of the whole. */
function messageIn<T>(
  codec: { decode(reader: BinaryReader): T },
  octets: Buffer,
  from: number,
  to: number,
): T | undefined {
  const reader = new BinaryReader(octets.subarray(from, to));
  try {
    const message = codec.decode(reader);
    return reader.pos === reader.len ? message : undefined;
  } catch {
    return undefined;
  }
}

function isSameList(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((text, at) => text === other[at]);
}

/** A list of its own length: one that is pushed to has room for seventeen. */
function addressInto(draft: Draft, octets: Buffer, from: number, to: number): boolean {
  const text = to - from === 4 ? formatIpv4(octets, from) : formatIp(octets.subarray(from, to));
  if (text !== undefined) draft.addresses = draft.addresses.length === 0 ? [text] : draft.addresses.concat(text);
  return text !== undefined;
}

/** By way of octets, and not in seven pieces that the text would then be made of. */
function formatIpv4(octets: Buffer, from: number): string {
  let length = 0;
  for (let at = from; at < from + 4; at++) {
    const value = octets[at] ?? 0;
    if (value >= 100) scratch[length++] = zero + Math.trunc(value / 100);
    if (value >= 10) scratch[length++] = zero + (Math.trunc(value / 10) % 10);
    scratch[length++] = zero + (value % 10);
    scratch[length++] = dot;
  }
  return scratch.toString("latin1", 0, length - 1);
}

function isAscii(octets: Buffer, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if ((octets[at] ?? 0) >= 0x80) return false;
  return true;
}

/** Whether they are the octets of an ASCII text. */
function isText(text: string, octets: Buffer, from: number, to: number): boolean {
  if (text.length !== to - from) return false;
  for (let at = 0; at < text.length; at++) if (text.charCodeAt(at) !== octets[from + at]) return false;
  return true;
}

const none: readonly string[] = [];
const noServices: WorkloadTraits["services"] = new Map();
const nowhere: Locality = { region: "", zone: "", subzone: "" };
const noRange: Range = { from: -1, to: -1 };
const noTraits: WorkloadTraits = {
  namespace: "",
  network: "",
  tunnel: "tcp",
  trustDomain: "cluster.local",
  serviceAccount: "default",
  waypoint: undefined,
  networkGateway: undefined,
  canonicalName: "",
  canonicalRevision: "",
  workloadType: "deployment",
  workloadName: "",
  nativeTunnel: false,
  policies: none,
  clusterId: "Kubernetes",
  hostname: "",
  services: noServices,
  hostNetwork: false,
  capacity: 1,
};
const emptyDraft: Draft = {
  uidFrom: 0,
  uidTo: 0,
  nameFrom: 0,
  nameTo: 0,
  policies: noRange,
  services: noRange,
  addresses: none,
  node: "",
  locality: nowhere,
  healthy: true,
  traits: noTraits,
};
const noOctets: Buffer = Buffer.alloc(0);
const workloadTag = 10;
const traitPlaces = 8_192;
/** A workload of more services or policies than this in octets shares them with nobody. */
const longestRange = 4_096;
/** A text, a gateway or a locality that is longer is no name of anything in Kubernetes: 253 octets, and two of them. */
const longestText = 520;
const scratch = Buffer.alloc(16);
const [zero, dot] = [48, 46];
