/**
 * Fuzzes the HTTP/2 machine: `node test/fuzz/h2.ts --runs N [--seed S]`.
 *
 * An input is a conversation. Its first octet: bit 0, we are the client; bit 1, the peer's preface and SETTINGS are left out. The second
 * says where to cut what comes. Then steps, told apart by their first octet:
 *
 * - under 0x10: a frame of that type: flags, stream, length (two octets), payload;
 * - under 0x18: octets as they are: length, octets;
 * - under 0x20: a DATA frame that need not be spelled out: flags, stream, length (two octets);
 * - others: what we do ourselves: what, which stream, amount (two octets).
 */
import assert from "node:assert/strict";
import { clientPreface } from "../../core/protocol/h2/frame.ts";
import { frameHeader } from "../../core/protocol/h2/frame-writer.ts";
import { Conversation, type Action } from "./h2-conversation.ts";
import { runFuzzer } from "./run.ts";

/**
 * However it was cut, the same octets mean the same: to the owner and on the wire. Besides, `Conversation` watches what is told of
 * each stream, and `WireLaw` what is written.
 * @returns what the owner was told of, without the details.
 */
export function tryH2(input: Uint8Array): string {
  const whole = converse(input, undefined);
  const cut = converse(input, input[1] ?? 0);
  assert.deepEqual(cut.told, whole.told);
  if (whole.error?.type.code !== "h2.no-preface") assert.deepEqual(cut.written, whole.written);
  const most = 10_000 + 64 * input.length + actionsIn(input) * 70_000;
  assert.ok(whole.written.length <= most, `${whole.written.length} octets were written`);
  const kinds = whole.told.map((what) => what.replace(/ .*/s, ""));
  const error = whole.error?.type.code === "h2.no-preface" ? whole.error.type.code : whole.error?.message;
  return `${[...new Set(kinds)].sort().join(" ")} ${error?.replace(/[0-9]+/g, "#") ?? ""}`;
}

function converse(input: Uint8Array, cutSeed: number | undefined): Conversation {
  const [config = 0] = input;
  const isClient = (config & 1) !== 0;
  const conversation = new Conversation(isClient ? "client" : "server", cutSeed);
  if ((config & 2) === 0) {
    if (!isClient) conversation.receive(clientPreface);
    conversation.receive(frameHeader(4, 0, 0, 0));
  }
  for (const step of stepsOf(input)) {
    if (step instanceof Uint8Array) conversation.receive(step);
    else conversation.act(step);
  }
  conversation.lose();
  return conversation;
}

function* stepsOf(input: Uint8Array): Generator<Uint8Array | Action> {
  const bytes = Buffer.from(input);
  for (let at = 2; at < bytes.length;) {
    const kind = bytes[at] ?? 0;
    const [first = 0, second = 0, third = 0, fourth = 0] = bytes.subarray(at + 1, at + 5);
    if (kind < 0x10) {
      const length = (third << 8) | fourth;
      const payload = bytes.subarray(at + 5, at + 5 + length);
      yield Buffer.concat([frameHeader(kind, first, second, length), payload]);
      at += 5 + length;
    } else if (kind < 0x18) {
      yield bytes.subarray(at + 2, at + 2 + first);
      at += 2 + first;
    } else if (kind < 0x20) {
      const length = ((third << 8) | fourth) % 16_385;
      yield Buffer.concat([frameHeader(0, first, second, length), Buffer.alloc(length, 1)]);
      at += 5;
    } else {
      yield { what: first, stream: second, amount: (third << 8) | fourth };
      at += 5;
    }
  }
}

function actionsIn(input: Uint8Array): number {
  return [...stepsOf(input)].filter((step) => !(step instanceof Uint8Array)).length;
}

if (import.meta.main) runFuzzer("h2", tryH2);
