/** What the applications of the recordings did. */
import type { Heard } from "./conversations.ts";

export function echo({ socket }: Heard): void {
  socket.pipe(socket);
}

export function greetAndEcho({ socket }: Heard): void {
  socket.write(`peer ${socket.remoteAddress}\n`);
  socket.pipe(socket);
}

export function sayGoodbye({ socket }: Heard): void {
  socket.end("bye");
}

export function sayOne({ socket }: Heard): void {
  socket.write("x");
}

/** What the scripted server of a recording did, as an application of ours. */
export function applicationOf(server = ""): ((heard: Heard) => void) | undefined {
  return scripts[server];
}

const scripts: Record<string, (heard: Heard) => void> = {
  serverfin: sayGoodbye,
  hold: ({ socket }) => socket.once("end", () => socket.end()),
};
for (const code of [0, 5, 7, 8, 10, 11, 13])
  Object.assign(scripts, {
    [`rst${code}`]: ({ socket }: Heard) => {
      socket.write("x");
      // Once it has heard something.
      socket.once("data", () => socket.resetAndDestroy());
    },
  });
