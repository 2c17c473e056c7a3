/** The loop of a fuzzer: `node test/fuzz/TARGET.ts [--runs N] [--seed S]`. The same seed gives the same inputs. */
import { parseArgs } from "node:util";
import { seededRandom } from "../../core/base/random.ts";
import { readCorpus } from "./corpus.ts";
import { mutate } from "./mutate.ts";

/**
 * Replays the target's corpus, then mutates it; ends the process with 1 at the first input that `tryInput` throws at, and prints
 * what reproduces it.
 * @property tryInput throws where what must hold of every input does not; what it returns tells apart the ways that inputs go:
 *   inputs that go a new way join those that are mutated.
 */
export function runFuzzer(target: string, tryInput: (input: Uint8Array) => string): void {
  const { values } = parseArgs({ options: { runs: { type: "string" }, seed: { type: "string" } } });
  const runs = Number(values.runs ?? 10_000);
  const seed = Number(values.seed ?? Date.now() % 2 ** 32);
  const random = seededRandom(seed);
  const inputs: Uint8Array[] = readCorpus(target).map(({ input }) => input);
  const ways = new Set(inputs.map((input) => attempt(input, "the corpus")));
  const began = performance.now();
  let slowestMs = 0;
  for (let run = 0; run < runs; run++) {
    const input = mutate(random, inputs);
    const sinceMs = performance.now();
    const way = attempt(input, `--seed ${seed} --runs ${run + 1}`);
    slowestMs = Math.max(slowestMs, performance.now() - sinceMs);
    if (ways.has(way) || inputs.length >= mostInputs) continue;
    ways.add(way);
    inputs.push(input);
  }
  const seconds = (performance.now() - began) / 1000;
  say(`${runs} runs, seed ${seed}, ${seconds.toFixed(1)} s, ${ways.size} ways, slowest ${slowestMs.toFixed(1)} ms`);

  function attempt(input: Uint8Array, origin: string): string {
    try {
      return tryInput(input);
    } catch (thrown) {
      say(`${target} failed, ${origin}\n${Buffer.from(input).toString("hex")}`);
      say(thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown));
      process.exit(1);
    }
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

const mostInputs = 5_000;
