/** Derived messages as subscribers get them: bytes under a name, with a version that says whether they differ. */
import { hash } from "node:crypto";
import { parseIp } from "../../../core/base/ip.ts";
import { addressType as addressTypeUrl } from "../../../core/protocol/wds/address.ts";
import { authorizationType as authorizationTypeUrl } from "../../../core/protocol/wds/authorization.ts";
import { Authorization } from "../../../core/protocol/generated/security.ts";
import {
  Address,
  type NetworkAddress,
  type Service,
  type Workload,
} from "../../../core/protocol/generated/workload.ts";

export { addressTypeUrl, authorizationTypeUrl };

export interface Resource {
  readonly typeUrl: typeof addressTypeUrl | typeof authorizationTypeUrl;
  /** Workload: its uid. Service: namespace/hostname. Authorization: namespace/name. */
  readonly name: string;
  /** Of the bytes: SHA-256 cut to 16 hex digits. */
  readonly version: string;
  /** The message: the value of the Any it travels in. */
  readonly bytes: Uint8Array;
}

export function workloadResource(workload: Workload): Resource {
  return resource(addressTypeUrl, workload.uid, encodeAddress({ $case: "workload", value: workload }));
}

export function serviceResource(service: Service): Resource {
  const name = `${service.namespace}/${service.hostname}`;
  return resource(addressTypeUrl, name, encodeAddress({ $case: "service", value: service }));
}

export function authorizationResource(authorization: Authorization): Resource {
  const name = `${authorization.namespace}/${authorization.name}`;
  return resource(authorizationTypeUrl, name, Authorization.encode(authorization).finish());
}

/** @param ip canonical text. */
export function networkAddress(network: string, ip: string): NetworkAddress {
  return { network, address: addressBytes(ip) };
}

/** 4 or 16 bytes. @param ip canonical text, as the parsers leave it. */
export function addressBytes(ip: string): Buffer {
  return Buffer.from(parseIp(ip) ?? []);
}

/** The same map with its keys in order: what is written in order has one encoding. */
export function sorted<Value>(entries: Iterable<readonly [string, Value]>): Record<string, Value> {
  return Object.fromEntries([...entries].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function encodeAddress(type: Address["type"]): Uint8Array {
  return Address.encode({ type }).finish();
}

function resource(typeUrl: Resource["typeUrl"], name: string, bytes: Uint8Array): Resource {
  return { typeUrl, name, version: hash("sha256", bytes, "hex").slice(0, 16), bytes };
}
