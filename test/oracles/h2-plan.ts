/** What two HTTP/2 ends do with each other in one run, drawn from a seed, and what each of them has to tell of it afterwards. */
import type { Random } from "../../core/base/random.ts";

/** One stream. Both ends find it by its number, which the request carries in `x-plan`. */
export interface StreamPlan {
  readonly number: number;
  readonly isConnect: boolean;
  /** Octets of each chunk, in order. */
  readonly chunks: Record<Role, readonly number[]>;
  /** Who resets it once so many of its own chunks are sent, instead of ending it. */
  readonly reset?: { readonly by: Role; readonly afterChunks: number; readonly errorCode: number };
}

export type Role = "client" | "server";

/** What one end has heard of a stream. */
export interface Heard {
  octets: number;
  isWrong: boolean;
  isAnswered: boolean;
  ended: number;
  /** The code of the other end's reset; what else it was, where it was none. */
  resetWith: number | string | undefined;
  closed: number;
}

export function nothingHeard(): Heard {
  return { octets: 0, isWrong: false, isAnswered: false, ended: 0, resetWith: undefined, closed: 0 };
}

export function drawPlan(random: Random, number: number): StreamPlan {
  const chunks = { client: drawChunks(random), server: drawChunks(random) };
  const plan = { number, isConnect: random() < 0.6, chunks };
  if (random() < 0.7) return plan;
  const by: Role = random() < 0.5 ? "client" : "server";
  const afterChunks = below(random, chunks[by].length + 1);
  return { ...plan, reset: { by, afterChunks, errorCode: resetCodes[below(random, resetCodes.length)] ?? 8 } };
}

export function otherRole(role: Role): Role {
  return role === "client" ? "server" : "client";
}

export function totalOf(plan: StreamPlan, from: Role): number {
  return plan.chunks[from].reduce((sum, size) => sum + size, 0);
}

/** All that one end sends in a stream: no octet of it is where another stream has the same for long. */
export function contentOf(plan: StreamPlan, from: Role): Buffer {
  const content = Buffer.alloc(totalOf(plan, from));
  let state = plan.number * 2 + (from === "client" ? 1 : 0) + 1;
  for (let at = 0; at < content.length; at++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    content[at] = state >>> 16;
  }
  return content;
}

/** Takes a piece of what the other end sends. */
export function hear(heard: Heard, expected: Buffer, piece: Uint8Array): void {
  const end = heard.octets + piece.length;
  if (end > expected.length || !expected.subarray(heard.octets, end).equals(piece)) heard.isWrong = true;
  heard.octets = end;
}

/**
 * What of the plan the end that plays `role` did not hear as it should have; undefined when all is well.
 * @param endsBeforeReset the other end is node:http2, which ends its side before it resets a stream, if nothing waits to be written.
 */
export function complaint(plan: StreamPlan, role: Role, heard: Heard, endsBeforeReset: boolean): string | undefined {
  const { reset } = plan;
  const total = totalOf(plan, otherRole(role));
  if (heard.isWrong) return "other octets than were sent";
  if (heard.closed !== 1) return `closed ${heard.closed} times`;
  if (heard.ended > 1) return `ended ${heard.ended} times`;
  if (reset !== undefined && reset.by !== role) {
    if (heard.ended === 1 && endsBeforeReset) return undefined;
    if (heard.resetWith !== reset.errorCode) return `reset with ${heard.resetWith}, not ${reset.errorCode}`;
    return heard.ended === 0 ? undefined : "ended and reset";
  }
  if (heard.ended === 1 && heard.octets !== total) return `ended after ${heard.octets} of ${total} octets`;
  if (reset !== undefined) return undefined;
  if (heard.resetWith !== undefined) return `reset with ${heard.resetWith} by nobody`;
  if (role === "client" && !heard.isAnswered) return "not answered";
  return heard.ended === 1 ? undefined : "not ended";
}

function drawChunks(random: Random): number[] {
  const scale = random() < 0.1 ? 100_000 : random() < 0.5 ? 5_000 : 100;
  return Array.from({ length: below(random, 6) }, () => 1 + below(random, scale));
}

export function below(random: Random, limit: number): number {
  return Math.floor(random() * limit);
}

/** INTERNAL_ERROR, REFUSED_STREAM, CANCEL, CONNECT_ERROR, ENHANCE_YOUR_CALM. */
const resetCodes = [2, 7, 8, 10, 11];
