/** One question to the node daemon: HTTP on the unix socket <run dir>/pluginevent.sock. */
import { lstatSync, statSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";

export type DaemonAnswer =
  | { readonly kind: "yes" }
  /** 404: a daemon that doesn't know this question, as istio's. */
  | { readonly kind: "not-asked-here" }
  /** Any other status, with its text. */
  | { readonly kind: "no"; readonly status: number; readonly reason: string }
  /** Nobody listens. */
  | { readonly kind: "absent"; readonly socket: string; readonly errno: string }
  /** No answer within the time. */
  | { readonly kind: "silent"; readonly socket: string; readonly waitedMs: number }
  /** The connection ended before its answer did. */
  | { readonly kind: "cut"; readonly socket: string }
  /** What came isn't HTTP. */
  | { readonly kind: "garbage"; readonly socket: string; readonly problem: string }
  /** The socket isn't the node daemon's: somebody else could answer in its name. */
  | { readonly kind: "stranger"; readonly socket: string; readonly problem: string };

export interface Question {
  readonly runDir: string;
  readonly path: "/cmdadd" | "/cmdcheck" | "/cmdstatus";
  /** JSON; empty for a question without a body. */
  readonly body: string;
  readonly patienceMs: number;
}

export async function askDaemon(question: Question): Promise<DaemonAnswer> {
  const socket = join(question.runDir, "pluginevent.sock");
  const foreign = strangerAt(socket);
  return foreign ?? exchange(question, socket);
}

/** Whoever may put a socket there can let pods pass: it must belong to the user that runs the plugin (root), and so must its directory. */
function strangerAt(socket: string): DaemonAnswer | undefined {
  const stranger = (problem: string): DaemonAnswer => ({ kind: "stranger", socket, problem });
  try {
    const own = process.geteuid?.();
    const file = lstatSync(socket);
    if (!file.isSocket()) return stranger("is no socket");
    if (file.uid !== own) return stranger(`belongs to user ${file.uid} instead of ${own}`);
    const directory = statSync(join(socket, ".."));
    if (directory.uid !== own) return stranger(`lies in a directory of user ${directory.uid} instead of ${own}`);
    if ((directory.mode & 0o022) !== 0) return stranger("lies in a directory that others may write to");
    return undefined;
  } catch (thrown) {
    return { kind: "absent", socket, errno: errnoOf(thrown) };
  }
}

async function exchange({ path, body, patienceMs }: Question, socket: string): Promise<DaemonAnswer> {
  const { promise, resolve } = Promise.withResolvers<DaemonAnswer>();
  // Loaded here: most calls for pods of an excluded namespace never need it.
  const { request } = process.getBuiltinModule("node:http");
  const asked = request({
    socketPath: socket,
    path,
    method: "POST",
    headers: { host: "unix", "content-type": "application/json", "content-length": Buffer.byteLength(body) },
    agent: false,
  });
  const timer = setTimeout(() => resolve({ kind: "silent", socket, waitedMs: patienceMs }), patienceMs);
  asked.on("response", (response) => void read(response, socket).then(resolve));
  asked.on("error", (error) => resolve(failureOf(error, socket)));
  asked.end(body);
  const answer = await promise;
  clearTimeout(timer);
  asked.destroy();
  return answer;
}

async function read(response: IncomingMessage, socket: string): Promise<DaemonAnswer> {
  let text = "";
  try {
    response.setEncoding("utf8");
    for await (const chunk of response as AsyncIterable<string>) {
      text += chunk;
      if (text.length > longestReason) break;
    }
  } catch {
    return { kind: "cut", socket };
  }
  const status = response.statusCode ?? 0;
  if (status === 200) return { kind: "yes" };
  if (status === 404) return { kind: "not-asked-here" };
  return { kind: "no", status, reason: oneLine(text) };
}

function failureOf(error: Error, socket: string): DaemonAnswer {
  const errno = errnoOf(error);
  if (errno.startsWith("HPE_")) return { kind: "garbage", socket, problem: oneLine(error.message) };
  if (errno === "ECONNRESET" || errno === "EPIPE") return { kind: "cut", socket };
  return { kind: "absent", socket, errno };
}

function errnoOf(thrown: unknown): string {
  return thrown instanceof Error && "code" in thrown ? String(thrown.code) : String(thrown);
}

/** Fit for an event: no line breaks or control characters, and not endless. */
function oneLine(text: string): string {
  return text
    .slice(0, longestReason)
    .replaceAll(/[\u0000-\u0020\u007f]+/g, " ")
    .trim();
}

const longestReason = 1024;
