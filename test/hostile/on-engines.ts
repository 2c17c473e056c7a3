/** Tests that are run against every engine that there is, each in a sentence that names it. */
import { test, type TestContext } from "node:test";
import { engines, type EngineName } from "../support/engines.ts";

export interface EngineTestOptions {
  /** Why it cannot be run here. */
  readonly skip?: string | boolean;
  /** Why the promise is not kept yet; told with each run. */
  readonly pending?: string;
  /** The engines that keep the promise; node:http2 does not keep all of them (docs/http2-engine.md). */
  readonly only?: readonly EngineName[];
}

/** @param sentence begins with the rows it proves, `H009 H019 one-byte DATA …`; the engine's name is put behind them. */
export function onEngines(
  sentence: string,
  options: EngineTestOptions,
  body: (t: TestContext, engine: EngineName) => Promise<void>,
): void {
  const [, rows = "", rest = sentence] = /^((?:[FHM]\d+ )*)(.*)$/.exec(sentence) ?? [];
  for (const engine of engines) {
    if (options.only?.includes(engine) === false) continue;
    test(`${rows}(${engine}) ${rest}`, { skip: options.pending ?? options.skip ?? false }, (t) => body(t, engine));
  }
}

/** Promises that only our own HTTP/2 keeps. */
export const ownOnly: readonly EngineName[] = ["own", "own-on-node-tls"];

/** For what is over before an engine comes into play: once is enough. */
export const firstEngine: readonly EngineName[] = engines.slice(0, 1);
