/**
 * The listener store on the wire: a node daemon keeps duplicates of the agents' listening sockets, so that connections wait in a queue
 * that outlives the agent. Ours alone, beside ZDS. SOCK_SEQPACKET, one JSON object a packet, its one key says what it is; lock-step:
 *
 *     agent → daemon                                        daemon → agent, in the order of the requests
 *     {"put":{"uid","port","transparent",                   {"ok":true} | {"error":"…"}
 *       "protocol"?,"address"?}} + descriptor
 *     {"take":{"uid"}}                                      {"listener":{"uid","port","transparent"}} + descriptor, each; {"end":{"uid"}}
 *     {"drop":{"uid"}}                                      {"ok":true}
 *     {"serving":true}                                      {"ok":true}
 *     {"successor":true}                                    {"successor":true|false}
 *
 * A take copies: what is kept stays kept. A later put of the same pod, protocol, address and port takes the earlier one's place. `serving` says that this
 * agent accepts for every pod that it was told of; `successor` asks whether an agent that connected to the store after this one, and
 * still is, has said so: until then an agent that is to end goes on accepting. Sockets are not seen here, only bytes and how many
 * descriptors came with them.
 */
import { messageOf, TypedError } from "../../base/errors.ts";
import { canonicalIp } from "../../base/ip.ts";

/** Longest packet, both ways. */
export const storePacketLimit = 1024;

export class ListenerStoreError extends TypedError<
  | { readonly code: "listener-store.undecodable"; readonly reason: string }
  | { readonly code: "listener-store.bad-field"; readonly field: string }
  | { readonly code: "listener-store.unknown-message"; readonly key: string }
  | { readonly code: "listener-store.descriptor-count"; readonly kind: string; readonly descriptors: number }
  | { readonly code: "listener-store.packet-too-long"; readonly bytes: number }
> {}

/** What is known of a socket without asking it. */
export interface StoredListener {
  /** Kubernetes uid of the pod in whose namespace it listens; opaque, 1 to 128 characters. */
  readonly uid: string;
  readonly port: number;
  /** It has IP_TRANSPARENT. */
  readonly transparent: boolean;
  /** Default TCP. */
  readonly protocol?: "udp";
  /** Canonical address that it is bound to, where that isn't every one: a port may have several sockets then. */
  readonly address?: string;
}

/** What a socket of a pod is known by: a later one of the same name takes an earlier one's place. */
export function listenerName({
  port,
  protocol,
  address,
}: Pick<StoredListener, "port" | "protocol" | "address">): string {
  return `${protocol ?? "tcp"} ${address ?? "*"} ${port}`;
}

export type StoreRequest =
  | { readonly kind: "put"; readonly listener: StoredListener } // with the listening socket's descriptor
  | { readonly kind: "take"; readonly uid: string }
  | { readonly kind: "drop"; readonly uid: string }
  | { readonly kind: "serving" | "successor" };

export type StoreResponse =
  | { readonly kind: "ok" }
  | { readonly kind: "error"; readonly reason: string }
  | { readonly kind: "listener"; readonly listener: StoredListener } // with the descriptor
  | { readonly kind: "end"; readonly uid: string }
  | { readonly kind: "successor"; readonly serving: boolean };

/** The packet, or an error where a field is none that the other side would accept. */
export function encodeStoreRequest(request: StoreRequest): Uint8Array | ListenerStoreError {
  switch (request.kind) {
    case "put":
      return packet("put", request.listener);
    case "take":
    case "drop":
      return packet(request.kind, { uid: request.uid });
    case "serving":
    case "successor":
      return packet(request.kind, true);
  }
}

/** @param descriptors how many came with the packet; whatever the answer, they are the caller's to keep or close. */
export function decodeStoreRequest(bytes: Uint8Array, descriptors: number): StoreRequest | ListenerStoreError {
  const message = decoded(bytes);
  if (message instanceof ListenerStoreError) return message;
  const { key, value } = message;
  switch (key) {
    case "put": {
      const listener = listenerOf(value);
      if (listener instanceof ListenerStoreError) return listener;
      return counted({ kind: "put", listener }, descriptors, 1);
    }
    case "take":
    case "drop": {
      const uid = uidOf(value);
      return uid instanceof ListenerStoreError ? uid : counted({ kind: key, uid }, descriptors, 0);
    }
    case "serving":
    case "successor":
      return value === true ? counted({ kind: key }, descriptors, 0) : badField(key);
    default:
      return new ListenerStoreError({ code: "listener-store.unknown-message", key: key.slice(0, 32) });
  }
}

/** An error text is cut so that the packet fits. */
export function encodeStoreResponse(response: StoreResponse): Uint8Array | ListenerStoreError {
  switch (response.kind) {
    case "ok":
      return packet("ok", true);
    case "error":
      return packet("error", response.reason.slice(0, longestReason));
    case "listener":
      return packet("listener", response.listener);
    case "end":
      return packet("end", { uid: response.uid });
    case "successor":
      return packet("successor", response.serving);
  }
}

/** @param descriptors as in {@link decodeStoreRequest}. */
export function decodeStoreResponse(bytes: Uint8Array, descriptors: number): StoreResponse | ListenerStoreError {
  const message = decoded(bytes);
  if (message instanceof ListenerStoreError) return message;
  const { key, value } = message;
  switch (key) {
    case "ok":
      return value === true ? counted({ kind: "ok" }, descriptors, 0) : badField("ok");
    case "error":
      return typeof value === "string" ? counted({ kind: "error", reason: value }, descriptors, 0) : badField("error");
    case "listener": {
      const listener = listenerOf(value);
      if (listener instanceof ListenerStoreError) return listener;
      return counted({ kind: "listener", listener }, descriptors, 1);
    }
    case "end": {
      const uid = uidOf(value);
      return uid instanceof ListenerStoreError ? uid : counted({ kind: "end", uid }, descriptors, 0);
    }
    case "successor":
      return typeof value === "boolean"
        ? counted({ kind: "successor", serving: value }, descriptors, 0)
        : badField("successor");
    default:
      return new ListenerStoreError({ code: "listener-store.unknown-message", key: key.slice(0, 32) });
  }
}

function packet(key: string, value: unknown): Uint8Array | ListenerStoreError {
  const fields =
    typeof value === "object" ? (key === "put" || key === "listener" ? listenerOf(value) : uidOf(value)) : "";
  if (fields instanceof ListenerStoreError) return fields;
  const bytes = Buffer.from(JSON.stringify({ [key]: value }));
  if (bytes.length <= storePacketLimit) return bytes;
  return new ListenerStoreError({ code: "listener-store.packet-too-long", bytes: bytes.length });
}

function decoded(bytes: Uint8Array): { key: string; value: unknown } | ListenerStoreError {
  if (bytes.length > storePacketLimit) {
    return new ListenerStoreError({ code: "listener-store.packet-too-long", bytes: bytes.length });
  }
  let message: unknown;
  try {
    message = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (thrown) {
    return new ListenerStoreError({ code: "listener-store.undecodable", reason: messageOf(thrown).slice(0, 100) });
  }
  const entries = typeof message === "object" && message !== null ? Object.entries(message) : [];
  const [entry] = entries;
  if (entry === undefined || entries.length !== 1 || Array.isArray(message)) {
    return new ListenerStoreError({ code: "listener-store.undecodable", reason: "not an object with one key" });
  }
  return { key: entry[0], value: entry[1] as unknown };
}

function counted<Message extends StoreRequest | StoreResponse>(
  message: Message,
  descriptors: number,
  expected: 0 | 1,
): Message | ListenerStoreError {
  if (descriptors === expected) return message;
  return new ListenerStoreError({ code: "listener-store.descriptor-count", kind: message.kind, descriptors });
}

/** Unknown fields are let be: a later version may have more to say. */
function listenerOf(value: unknown): StoredListener | ListenerStoreError {
  const uid = uidOf(value);
  if (uid instanceof ListenerStoreError) return uid;
  const { port, transparent, protocol, address } = value as Record<keyof StoredListener, unknown>;
  if (typeof port !== "number" || !Number.isInteger(port) || port < 1 || port > 65_535) return badField("port");
  if (typeof transparent !== "boolean") return badField("transparent");
  if (protocol !== undefined && protocol !== "udp") return badField("protocol");
  if (address !== undefined && (typeof address !== "string" || canonicalIp(address) !== address))
    return badField("address");
  return {
    uid,
    port,
    transparent,
    ...(protocol !== undefined && { protocol }),
    ...(address !== undefined && { address }),
  };
}

function uidOf(value: unknown): string | ListenerStoreError {
  const { uid } = (value ?? {}) as { uid?: unknown };
  return typeof uid === "string" && uid.length > 0 && uid.length <= longestUid ? uid : badField("uid");
}

function badField(field: string): ListenerStoreError {
  return new ListenerStoreError({ code: "listener-store.bad-field", field });
}

/** UTF-16 code units; each is at most six bytes of JSON, so that every message with such a uid fits. */
const longestUid = 128;
const longestReason = 160;
