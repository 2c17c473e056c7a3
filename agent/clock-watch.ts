/** Says when the wall clock is set to another time. Certificates begin and end by it; every deadline of ours goes by the monotonic one. */
import type { Clock } from "../core/base/clock.ts";
import type { Log } from "../core/base/log.ts";

/** One line for each step, however far it is. @returns ends it. */
export function watchClock(clock: Clock, log: Log): () => void {
  let offsetMs = clock.wallMs() - clock.nowMs();
  let cancel = clock.after(lookEveryMs, look);
  return () => cancel();

  function look(): void {
    const stepMs = clock.wallMs() - clock.nowMs() - offsetMs;
    // A clock that is a little fast or slow is put right in small pieces; that is nobody's concern.
    offsetMs += stepMs;
    if (Math.abs(stepMs) >= leastStepMs) {
      log.error(
        { alarm: "CLOCK_STEPPED", stepMs: Math.round(stepMs) },
        "the wall clock has been set to another time, or this machine has slept: compare it with the other nodes' clocks if certificates are refused",
      );
    }
    cancel = clock.after(lookEveryMs, look);
  }
}

const lookEveryMs = 1_000;
const leastStepMs = 5_000;
