/**
 * TCP connections as libuv has them, beneath net.Socket. What of Node's insides that takes stands here and nowhere else (tried on
 * Node 24.21); bare-socket-check.ts tries all of it at the start, and without it there is net.Socket.
 */
import type { Server } from "node:net";

/** Numbers are 0 or a negative errno. `this` of every callback is the handle or the request. */
export interface TcpHandle {
  readonly fd: number;
  /** Octets, the end or an error: {@link StreamState}. */
  onread: (this: never) => void;
  open(fd: number): number;
  connect(request: object, address: string, port: number): number;
  connect6(request: object, address: string, port: number): number;
  getpeername(into: Partial<HandleEndpoint>): number;
  getsockname(into: Partial<HandleEndpoint>): number;
  /** All reads go there, from now on. */
  useUserBuffer(buffer: Uint8Array): void;
  readStart(): number;
  readStop(): number;
  /** What the kernel does not take at once is read from where it lies, until the request completes. */
  writeBuffer(request: object, chunk: Uint8Array): number;
  writev(request: object, chunks: readonly Uint8Array[], allBuffers: true): number;
  /** The descriptor is closed when it returns. */
  close(): void;
  /** As close, with RST. */
  reset(): number;
}

export interface HandleEndpoint {
  readonly address: string;
  readonly port: number;
}

/** A request is for one operation: it can be used again only where that was over when the call returned. */
export interface HandleRequest {
  oncomplete?: (this: never, status: number) => void;
}

/** What the last call or callback of this thread says beside its own result. */
interface StreamState {
  readonly streamBaseState: Int32Array;
  readonly kReadBytesOrError: number;
  readonly kLastWriteWasAsync: number;
}

export interface TcpHandles {
  readonly makeHandle: () => TcpHandle;
  readonly makeConnect: () => HandleRequest;
  readonly makeWrite: () => HandleRequest;
  readonly state: Int32Array;
  readonly octetsReadAt: number;
  readonly isLaterAt: number;
}

/** Of this thread; undefined where Node has them no more, or elsewhere. */
export function tcpHandles(): TcpHandles | undefined {
  found ??= find() ?? null;
  return found ?? undefined;
}

/** To a reader: there is no more. */
export const endOfStream = -4095;

/**
 * Takes what a server accepts before a net.Socket is made of it. What cannot be accepted is told as ever.
 * @param server that listens by now. @returns false where that can't be had: then it emits `connection`.
 */
export function acceptHandles(server: Server, accepted: (handle: TcpHandle) => void): boolean {
  const listening = (server as unknown as { _handle?: Partial<ListeningHandle> | null })._handle;
  const ordinary = listening?.onconnection;
  if (!listening || ordinary === undefined) return false;
  listening.onconnection = function (status, handle): void {
    if (status !== 0 || handle === undefined) ordinary.call(this, status, handle);
    else accepted(handle);
  };
  return true;
}

interface ListeningHandle {
  onconnection(this: unknown, status: number, handle: TcpHandle | undefined): void;
}

function find(): TcpHandles | undefined {
  const { binding } = process as unknown as { readonly binding?: (name: string) => unknown };
  if (binding === undefined) return undefined;
  const tcp = binding("tcp_wrap") as Partial<TcpBinding>;
  const stream = binding("stream_wrap") as Partial<StreamState & { readonly WriteWrap: new () => HandleRequest }>;
  const { TCP, TCPConnectWrap, constants } = tcp;
  const { WriteWrap, streamBaseState, kReadBytesOrError, kLastWriteWasAsync } = stream;
  if (TCP === undefined || TCPConnectWrap === undefined || constants === undefined) return undefined;
  if (WriteWrap === undefined || !(streamBaseState instanceof Int32Array)) return undefined;
  if (kReadBytesOrError === undefined || kLastWriteWasAsync === undefined) return undefined;
  return {
    makeHandle: () => new TCP(constants.SOCKET),
    makeConnect: () => new TCPConnectWrap(),
    makeWrite: () => new WriteWrap(),
    state: streamBaseState,
    octetsReadAt: kReadBytesOrError,
    isLaterAt: kLastWriteWasAsync,
  };
}

interface TcpBinding {
  readonly TCP: new (kind: number) => TcpHandle;
  readonly TCPConnectWrap: new () => HandleRequest;
  readonly constants: { readonly SOCKET: number };
}

let found: TcpHandles | null | undefined;
