/** When to ask again: at half of a certificate's life, and after failures with doubling pauses, never later than its end. */
import type { BackoffOptions } from "../../../core/base/backoff.ts";
import type { Random } from "../../../core/base/random.ts";

/** One second, two, four … at most 150 s, each ±20 % (as the field's agents do). */
export const fetchBackoff: BackoffOptions = { firstMs: 1_000, capMs: 150_000, jitter: 0.2 };

/**
 * Milliseconds since 1970 at which the renewal is due: half of the life, less up to a fiftieth of it, so that a node's
 * certificates, all issued when it started, aren't all renewed in one second. Life begins when the certificate was received:
 * authorities date them back by minutes, by which a short-lived one would be past its half at birth.
 */
export function renewalDue(life: { readonly receivedMs: number; readonly notAfter: number }, random: Random): number {
  const lifeMs = life.notAfter - life.receivedMs;
  return life.receivedMs + lifeMs / 2 - (lifeMs / 50) * random();
}

/** Milliseconds to wait after a failure while a certificate is still served: the pause, but not beyond the certificate's end. */
export function retryDelay(pauseMs: number, notAfter: number, wallMs: number): number {
  return Math.max(0, Math.min(pauseMs, notAfter - wallMs));
}

/**
 * Milliseconds to arm a timer with for something due at `dueMs` of the wall clock. Timers run on the monotonic clock, which
 * stands still while a machine sleeps: long waits are looked at again every five minutes.
 */
export function nextLook(dueMs: number, wallMs: number): number {
  return Math.max(0, Math.min(dueMs - wallMs, longestBlindWaitMs));
}

const longestBlindWaitMs = 300_000;
