/** A socket that answers like a node daemon, or unlike any. */
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";

export type Script = (socket: Socket, request: string) => void;

export interface ScriptedDaemon {
  /** What has been asked, whole requests as they came. */
  readonly requests: string[];
  close(): void;
}

/** @param script run once the whole request has come. */
export async function scriptedDaemon(runDir: string, script: Script): Promise<ScriptedDaemon> {
  const requests: string[] = [];
  const open = new Set<Socket>();
  const server: Server = createServer((socket) => {
    open.add(socket);
    socket.on("error", () => undefined);
    let text = "";
    socket.on("data", (chunk) => {
      text += String(chunk);
      const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0);
      if (!text.includes("\r\n\r\n") || text.length < text.indexOf("\r\n\r\n") + 4 + length) return;
      requests.push(text);
      script(socket, text);
      text = "";
    });
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen({ path: join(runDir, "pluginevent.sock"), backlog: 511 }, resolve);
  await promise;
  return {
    requests,
    close: () => {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

export function answering(status: string, body = ""): Script {
  return (socket) => socket.end(`HTTP/1.1 ${status}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
}
