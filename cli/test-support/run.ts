/** Runs the command line as a shell would, in a process of its own that is started once and keeps the modules loaded. */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

let runner: ChildProcess | undefined;
let queue: Promise<unknown> = Promise.resolve();

/** One after another. With a home of its own where no kubeconfig lies. */
export function ambientctl(argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ran> {
  const ran = queue.then(() => ask({ argv, env: { PATH: "/nonexistent", HOME: "/nonexistent", ...env } }));
  queue = ran.catch(() => undefined);
  return ran;
}

async function ask(request: object): Promise<Ran> {
  runner ??= fork(join(import.meta.dirname, "runner.ts"), { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  runner.ref();
  runner.channel?.ref();
  const answered = once(runner, "message");
  runner.send(request);
  const [ran] = (await answered) as [Ran];
  runner.unref();
  runner.channel?.unref();
  return ran;
}
