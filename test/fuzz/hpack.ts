/**
 * Fuzzes the HPACK decoder: `node test/fuzz/hpack.ts --runs N [--seed S]`.
 *
 * An input is a conversation: one octet for the limit of lists, then steps of two octets and what they announce. With the first bit set
 * the other 15 are a table limit that the peer has acknowledged; else they are the length of a block that follows.
 */
import assert from "node:assert/strict";
import { HpackDecoder } from "../../core/protocol/h2/hpack/decoder.ts";
import { HpackEncoder } from "../../core/protocol/h2/hpack/encoder.ts";
import { HpackError } from "../../core/protocol/h2/hpack/hpack-error.ts";
import { NaiveDecoder } from "../oracles/hpack.ts";
import { runFuzzer } from "./run.ts";

/**
 * What the decoder says is what the naive one says, and what it understood can be encoded and read again.
 * @returns what came of each step.
 */
export function tryHpack(input: Uint8Array): string {
  const limits = { tableSize: 4096, listSize: 8 + 32 * (input[0] ?? 0) };
  const decoder = new HpackDecoder(limits);
  const naive = new NaiveDecoder(limits);
  const encoder = new HpackEncoder();
  const again = new HpackDecoder({ tableSize: 4096, listSize: Infinity });
  const ways: string[] = [];
  for (let at = 1; at < input.length;) {
    const step = ((input[at] ?? 0) << 8) | (input[at + 1] ?? 0);
    at += 2;
    if (step >= 0x8000) {
      for (const each of [decoder, naive]) each.limitTable(step - 0x8000);
      ways.push("limit");
      continue;
    }
    const block = input.subarray(at, at + step);
    at += step;
    const answer = decoder.decode(block);
    const expected = naive.decode(block);
    if (answer instanceof HpackError) {
      assert.deepEqual({ code: answer.type.code }, expected);
      ways.push(Object.values(answer.type).slice(0, 2).join(" "));
      continue;
    }
    assert.deepEqual(answer, expected);
    assert.deepEqual(again.decode(encoder.encode(answer.fields)), {
      fields: answer.fields,
      size: answer.fields.reduce((sum, { name, value }) => sum + name.length + value.length + 32, 0),
      tooLarge: false,
    });
    ways.push(`${Math.min(answer.fields.length, 9)}${answer.tooLarge ? " too large" : ""}`);
  }
  return ways.slice(-8).join(", ");
}

if (import.meta.main) runFuzzer("hpack", tryHpack);
