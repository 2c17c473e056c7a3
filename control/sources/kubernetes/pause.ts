/** A pause that closing ends. */
import type { Clock } from "../../../core/base/clock.ts";

/** Settles after `ms` milliseconds, with whether they went by: false when the signal came first. */
export function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const end = (wentBy: boolean): void => {
    cancel();
    signal.removeEventListener("abort", aborted);
    resolve(wentBy);
  };
  const aborted = (): void => end(false);
  const cancel = clock.after(ms, () => end(true));
  signal.addEventListener("abort", aborted, { once: true });
  return promise;
}
