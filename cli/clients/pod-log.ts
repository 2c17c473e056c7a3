/** A container's log through the API server, line by line. */
import { KubeError } from "../../control/sources/kubernetes/errors.ts";
import { apiFailure } from "./api-failure.ts";
import type { LogOptions } from "./agent.ts";
import type { Cluster } from "./cluster.ts";

/** Ends when the container's log does. @param path of the pod's subresource log. @throws Failure */
export async function* podLogLines(
  { client }: Cluster,
  path: string,
  { container, follow, sinceSeconds, tail }: LogOptions & { readonly container: string },
): AsyncIterable<string> {
  const lines = new LineQueue();
  const abort = new AbortController();
  const query = { container, follow: follow || undefined, sinceSeconds, tailLines: tail };
  const ended = client
    .stream(path, { query, signal: abort.signal, onData: (chunk) => lines.push(chunk) })
    .then((error) => lines.end(error));
  try {
    yield* lines;
  } finally {
    abort.abort();
    await ended;
  }
}

/** Bytes as they come in, lines as they are asked for. */
class LineQueue implements AsyncIterable<string> {
  readonly #ready: string[] = [];
  readonly #decoder = new TextDecoder();
  #rest = "";
  #end: { readonly error: KubeError | undefined } | undefined;
  #wake: (() => void) | undefined;

  push(chunk: Buffer): void {
    const parts = (this.#rest + this.#decoder.decode(chunk, { stream: true })).split("\n");
    this.#rest = parts.pop() ?? "";
    this.#ready.push(...parts);
    this.#wake?.();
  }

  end(error: KubeError | undefined): void {
    if (this.#rest !== "") this.#ready.push(this.#rest);
    this.#end = { error };
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string> {
    for (;;) {
      const batch = this.#ready.splice(0);
      yield* batch;
      if (batch.length > 0) continue;
      if (this.#end !== undefined) {
        if (this.#end.error instanceof KubeError) throw apiFailure(this.#end.error);
        return;
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
  }
}
