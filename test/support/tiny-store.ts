/** A listener store in a few lines, as the node daemon's half of core/protocol/listener-store: keeps descriptors, answers in order. */
import { LinuxError } from "../../core/linux/errno.ts";
import { listenSeqpacket, type SeqpacketConnection } from "../../core/linux/seqpacket.ts";
import { closeDescriptor } from "../../core/linux/sockets.ts";
import {
  decodeStoreRequest,
  encodeStoreResponse,
  listenerName,
  ListenerStoreError,
  type StoredListener,
  type StoreRequest,
  type StoreResponse,
} from "../../core/protocol/listener-store/messages.ts";

export interface Kept {
  readonly listener: StoredListener;
  readonly fd: number;
}

export interface TinyStore {
  /** By uid and name. */
  readonly kept: Map<string, Kept>;
  /** What it was asked, in order. */
  readonly heard: StoreRequest[];
  readonly connections: SeqpacketConnection[];
  /** Answers nothing while it is false. */
  answers: boolean;
  close(): void;
}

/** @throws where the socket can't be had. */
export function startTinyStore(path: string): TinyStore {
  const listener = listenSeqpacket(path);
  if (listener instanceof LinuxError) throw listener;
  const kept = new Map<string, Kept>();
  const heard: StoreRequest[] = [];
  const connections: SeqpacketConnection[] = [];
  const serving = new Set<SeqpacketConnection>();
  const forget = (uid: string): void => {
    for (const [key, { listener: of, fd }] of [...kept]) {
      if (of.uid !== uid) continue;
      kept.delete(key);
      closeDescriptor(fd);
    }
  };
  const answer = (from: SeqpacketConnection, request: StoreRequest, fd: number | undefined): void => {
    const say = (response: StoreResponse, descriptors: number[] = []): void => {
      const bytes = encodeStoreResponse(response);
      if (bytes instanceof ListenerStoreError) throw bytes;
      from.send(bytes, descriptors);
    };
    switch (request.kind) {
      case "put": {
        const key = `${request.listener.uid} ${listenerName(request.listener)}`;
        const earlier = kept.get(key);
        if (earlier !== undefined) closeDescriptor(earlier.fd);
        kept.set(key, { listener: request.listener, fd: fd ?? -1 });
        return say({ kind: "ok" });
      }
      case "take":
        for (const one of kept.values()) {
          if (one.listener.uid === request.uid) say({ kind: "listener", listener: one.listener }, [one.fd]);
        }
        return say({ kind: "end", uid: request.uid });
      case "drop":
        forget(request.uid);
        return say({ kind: "ok" });
      case "serving":
        serving.add(from);
        return say({ kind: "ok" });
      case "successor": {
        const later = connections.slice(connections.indexOf(from) + 1);
        return say({ kind: "successor", serving: later.some((one) => serving.has(one)) });
      }
    }
  };
  const store: TinyStore = {
    kept,
    heard,
    connections,
    answers: true,
    close() {
      listener.close();
      connections.forEach((connection) => connection.close());
      for (const { fd } of kept.values()) closeDescriptor(fd);
      kept.clear();
    },
  };
  listener.onConnection((connection) => {
    connections.push(connection);
    connection.onPacket((bytes, descriptors) => {
      const request = decodeStoreRequest(bytes, descriptors.length);
      if (request instanceof ListenerStoreError) throw request;
      heard.push(request);
      if (store.answers) answer(connection, request, descriptors[0]);
      else descriptors.forEach(closeDescriptor);
    });
    connection.onClose(() => serving.delete(connection));
  });
  return store;
}
