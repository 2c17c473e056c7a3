/**
 * ZDS as the agent hears it, one connection long: which pods the node daemon wants served. Sockets and descriptors are the caller's.
 * Lock-step: every request is answered before the next one counts. An error is answered as a nack and ends the connection;
 * every pod goes on being served until the next connection's snapshot (agent-wire 6.3).
 */
import { ZdsError, type PodInfo, type ZdsRequest } from "./messages.ts";

export type AgentSession =
  | { readonly phase: "snapshot"; readonly named: ReadonlySet<string> } // pod uids named since this connection began
  | { readonly phase: "live"; readonly sinceMs: number }; // monotonic milliseconds

/** What the request asks for, to be done before it is acknowledged. */
export type AgentTask =
  | { readonly kind: "serve"; readonly uid: string; readonly info: PodInfo } // in the namespace whose descriptor came along
  | { readonly kind: "keep"; readonly uid: string } // nack if it is not served: a green answer would hide a bare pod
  | { readonly kind: "stop"; readonly uid: string } // an unknown uid is done already
  | { readonly kind: "stop-others"; readonly named: ReadonlySet<string> }; // the snapshot is complete

export const newAgentSession: AgentSession = { phase: "snapshot", named: new Set() };

/** @param nowMs monotonic milliseconds. The daemon waits 5,000 ms for each answer. */
export function receive(
  session: AgentSession,
  request: ZdsRequest,
  nowMs: number,
): { readonly session: AgentSession; readonly task: AgentTask } | ZdsError {
  switch (request.kind) {
    case "add":
      return { session: naming(session, request.uid), task: { kind: "serve", uid: request.uid, info: request.info } };
    case "keep":
      if (session.phase === "live") return new ZdsError({ code: "zds.keep-after-snapshot", uid: request.uid });
      return { session: naming(session, request.uid), task: { kind: "keep", uid: request.uid } };
    case "del":
      return { session: forgetting(session, request.uid), task: { kind: "stop", uid: request.uid } };
    case "snapshot-sent":
      if (session.phase === "live") return new ZdsError({ code: "zds.second-snapshot" });
      return {
        session: { phase: "live", sinceMs: nowMs },
        task: { kind: "stop-others", named: session.named },
      };
  }
}

function naming(session: AgentSession, uid: string): AgentSession {
  return session.phase === "live" ? session : { phase: "snapshot", named: new Set(session.named).add(uid) };
}

function forgetting(session: AgentSession, uid: string): AgentSession {
  if (session.phase === "live") return session;
  const named = new Set(session.named);
  named.delete(uid);
  return { phase: "snapshot", named };
}
