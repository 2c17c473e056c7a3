/** ZDS on the wire (zds.proto, package istio.workload.zds): one protobuf message per SOCK_SEQPACKET packet, no framing. */
import { messageOf, TypedError } from "../../base/errors.ts";
import { Version, WorkloadRequest, WorkloadResponse, ZdsHello } from "../generated/zds.ts";

/** Both sides of existing implementations read into this many bytes. */
export const packetLimit = 1024;

export class ZdsError extends TypedError<
  | { readonly code: "zds.undecodable"; readonly reason: string }
  | { readonly code: "zds.missing"; readonly field: string }
  | { readonly code: "zds.version"; readonly version: number }
  | { readonly code: "zds.packet-too-long"; readonly bytes: number }
  | { readonly code: "zds.descriptor-count"; readonly kind: string; readonly descriptors: number } // an add has exactly 1, others none
  | { readonly code: "zds.keep-after-snapshot"; readonly uid: string }
  | { readonly code: "zds.second-snapshot" }
  | { readonly code: "zds.unexpected-packet"; readonly phase: string } // nothing was asked
  | { readonly code: "zds.timeout"; readonly awaiting: "hello" | "ack" }
> {}

/** The pod as its node daemon knows it. */
export interface PodInfo {
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** Daemon to agent; `uid` is the pod's Kubernetes uid, opaque. */
export type ZdsRequest =
  | { readonly kind: "add"; readonly uid: string; readonly info: PodInfo } // with the descriptor of its network namespace
  | { readonly kind: "keep"; readonly uid: string } // snapshot only: the daemon has no descriptor, go on if you serve it
  | { readonly kind: "del"; readonly uid: string }
  | { readonly kind: "snapshot-sent" };

/** Agent to daemon, one per request, in order. */
export interface ZdsResponse {
  /** Absent: done. */
  readonly error?: string;
}

/** The agent's first packet. */
export function hello(): Uint8Array {
  return ZdsHello.encode({ version: Version.V1 }).finish();
}

export function decodeHello(bytes: Uint8Array): "v1" | ZdsError {
  const message = decoded(() => ZdsHello.decode(bytes));
  if (message instanceof ZdsError) return message;
  return message.version === Version.V1 ? "v1" : new ZdsError({ code: "zds.version", version: message.version });
}

/** The packet, or an error where it would not fit the peer's buffer. */
export function encodeRequest(request: ZdsRequest): Uint8Array | ZdsError {
  const bytes = WorkloadRequest.encode({ payload: payloadOf(request) }).finish();
  return bytes.length <= packetLimit ? bytes : new ZdsError({ code: "zds.packet-too-long", bytes: bytes.length });
}

/** @param descriptors how many came with the packet; whatever the answer, they are the caller's to keep or close. */
export function decodeRequest(bytes: Uint8Array, descriptors: number): ZdsRequest | ZdsError {
  const message = decoded(() => WorkloadRequest.decode(bytes));
  if (message instanceof ZdsError) return message;
  const request = requestOf(message);
  if (request instanceof ZdsError) return request;
  if (descriptors !== (request.kind === "add" ? 1 : 0)) {
    return new ZdsError({ code: "zds.descriptor-count", kind: request.kind, descriptors });
  }
  return request;
}

/** An error text is cut so that the packet fits. */
export function encodeResponse(response: ZdsResponse): Uint8Array {
  const text = Buffer.from(response.error ?? "", "utf8").subarray(0, packetLimit - 16);
  // A character cut in two becomes U+FFFD, longer than what is left of it: drop it.
  const error = text.toString("utf8").replace(/\ufffd$/, "");
  return WorkloadResponse.encode({ payload: { $case: "ack", value: { error } } }).finish();
}

export function decodeResponse(bytes: Uint8Array): ZdsResponse | ZdsError {
  const message = decoded(() => WorkloadResponse.decode(bytes));
  if (message instanceof ZdsError) return message;
  if (message.payload === undefined) return new ZdsError({ code: "zds.missing", field: "payload" });
  const { error } = message.payload.value;
  return error === "" ? {} : { error };
}

type Payload = NonNullable<WorkloadRequest["payload"]>;

function payloadOf(request: ZdsRequest): Payload {
  switch (request.kind) {
    case "add":
      return { $case: "add", value: { uid: request.uid, workloadInfo: { ...request.info } } };
    case "keep":
      return { $case: "keep", value: { uid: request.uid } };
    case "del":
      return { $case: "del", value: { uid: request.uid } };
    case "snapshot-sent":
      return { $case: "snapshotSent", value: {} };
  }
}

function requestOf(message: WorkloadRequest): ZdsRequest | ZdsError {
  const { payload } = message;
  if (payload === undefined) return new ZdsError({ code: "zds.missing", field: "payload" });
  if (payload.$case === "snapshotSent") return { kind: "snapshot-sent" };
  const { uid } = payload.value;
  if (uid === "") return new ZdsError({ code: "zds.missing", field: `${payload.$case}.uid` });
  if (payload.$case !== "add") return { kind: payload.$case, uid };
  const info = payload.value.workloadInfo;
  if (info === undefined) return new ZdsError({ code: "zds.missing", field: "add.workload_info" });
  const { name, namespace, serviceAccount } = info;
  return { kind: "add", uid, info: { name, namespace, serviceAccount } };
}

function decoded<T>(decode: () => T): T | ZdsError {
  try {
    return decode();
  } catch (thrown) {
    return new ZdsError({ code: "zds.undecodable", reason: messageOf(thrown) });
  }
}
