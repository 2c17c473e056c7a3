/** What tests do with a client's socket: say something and hear it again, or see how it ends. */
import type { Socket } from "node:net";

/** The first words that come back; rejects with the error that comes instead. */
export function echo(socket: Socket, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    socket.once("data", (chunk: Buffer) => resolve(chunk.toString()));
    socket.once("error", reject);
    socket.write(text);
  });
}

/** The errno that a connection was ended with; "end" for an orderly end, which a refusal must never look like. */
export function endOf(socket: Socket): Promise<string> {
  socket.resume();
  return new Promise((resolve) => {
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "?"));
    socket.once("end", () => resolve("end"));
  });
}
