/** A small Node process beside PID 1 that carries or watches frames: it must not share an event loop with anything. */
import { spawn, type ChildProcess } from "node:child_process";
import { inNamespaceOf } from "../core/linux/namespace.ts";
import { checkoutRoot, childEnvironment, labProgram } from "./programs.ts";

interface Envelope {
  readonly id: number;
  readonly content: unknown;
}

export interface HelperOptions {
  /** Of this room, without extension. */
  readonly program: string;
  readonly argv: readonly string[];
  readonly netns?: number;
  readonly onSpawn: (child: ChildProcess) => void;
}

/** PID 1's end. The process ends with it, and by {@link close}. */
export class HelperProcess {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  #lastId = 0;

  private constructor(child: ChildProcess, name: string) {
    this.#child = child;
    child.on("message", (message) => {
      const { id, content } = message as Envelope;
      this.#waiting.get(id)?.resolve(content);
      this.#waiting.delete(id);
    });
    child.once("error", () => undefined); // it is told below
    child.once("close", (code, signal) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the lab's ${name} ended (${signal ?? code})`));
      this.#waiting.clear();
    });
  }

  /** Resolves when it says that it works; rejects with its own sentence where it cannot. */
  static async start(options: HelperOptions): Promise<HelperProcess> {
    const child = inNamespaceOf(options.netns, () =>
      spawn(process.execPath, [labProgram(options.program), ...options.argv], {
        cwd: checkoutRoot,
        env: childEnvironment({}),
        stdio: ["ignore", "inherit", "inherit", "ipc"],
      }),
    );
    options.onSpawn(child);
    const helper = new HelperProcess(child, options.program);
    const refused = await helper.ask({ kind: "begin" });
    if (typeof refused === "string") throw new Error(refused);
    return helper;
  }

  ask(content: unknown): Promise<unknown> {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      if (!this.#child.connected) return reject(new Error("the helper process has ended"));
      this.#waiting.set(id, { resolve, reject });
      this.#child.send({ id, content });
    });
  }

  close(): void {
    this.#child.kill("SIGKILL");
  }
}

/** The helper's end: answers each question with what `handle` returns, null for nothing. */
export function serveQuestions(handle: (question: { readonly kind: string }) => unknown): void {
  process.on("message", (message) => {
    const { id, content } = message as Envelope;
    process.send?.({ id, content: handle(content as { kind: string }) ?? null });
  });
  process.on("disconnect", () => process.exit());
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);
}
