/**
 * Code that serves connections, compiled soon and kept. V8 is made for pages that are open for seconds: it takes its time over finding out what runs
 * often, and it collects everything where nothing was allocated for a while, compiled code with it. What serves a connection runs once
 * for it, in one of several threads: an agent was as fast as it can be after some fifteen thousand of them in each, and after a pause of ten seconds
 * anew. Now it takes four thousand, once: what is collected in a pause leaves it alone, for there is always one object of each shape
 * that it was compiled for (core/base/specimens.ts).
 */
import { setFlagsFromString } from "node:v8";

/** V8's own: 400, 3,000 and 500 calls. The last are those since something new was seen. */
export const thresholds: Readonly<Record<string, number>> = {
  "invocation-count-for-maglev": 100,
  "invocation-count-for-turbofan": 1_000,
  "minimum-invocations-after-ic-update": 100,
};

/** In all threads of this process, those to come among them. After its start: what runs only then is not worth it. */
export function compileSooner(): void {
  for (const [name, calls] of Object.entries(thresholds)) setFlagsFromString(`--${name}=${calls}`);
}

/** In threads to come: what is collected in a pause is for them to say. @see IdleMemory */
export function keepCode(): void {
  setFlagsFromString("--no-memory-reducer");
}
