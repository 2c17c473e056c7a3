/**
 * A timer to the microsecond on this thread's event loop: timerfd_create(2). Node's own timers go by whole milliseconds, which is more
 * than the latencies that are measured.
 */
import { closeSync, readSync } from "node:fs";
import koffi from "koffi";
import { whenReadable } from "../../core/linux/libc.ts";

export interface PreciseTimer {
  /** Fires once, so many microseconds from now (at least one); what was set before is forgotten. */
  set(delayUs: number): void;
  close(): void;
}

/** @throws Error where the kernel gives none: our own bug. */
export function preciseTimer(fire: () => void): PreciseTimer {
  const fd = create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (fd < 0) throw new Error("timerfd_create failed");
  const expirations = new Uint8Array(8);
  // struct itimerspec: interval and value, each seconds and nanoseconds, 64 bits on all that we run on.
  const specification = new BigInt64Array(4);
  const words = new Int32Array(specification.buffer);
  const readiness = whenReadable(fd, () => {
    try {
      readSync(fd, expirations, 0, 8, null);
    } catch {
      return; // EAGAIN: it was set anew in the meantime
    }
    fire();
  });
  return {
    set(delayUs) {
      const whole = Math.max(1, Math.round(delayUs));
      const seconds = Math.floor(whole / 1e6);
      // The low halves: BigInts would be garbage.
      words[4] = seconds;
      words[6] = (whole - seconds * 1e6) * 1_000;
      if (settime(fd, 0, specification, null) !== 0) throw new Error("timerfd_settime failed");
    },
    close() {
      readiness.close();
      closeSync(fd);
    },
  };
}

const library = koffi.load(null);
const create = library.func("timerfd_create", "int", ["int", "int"]) as unknown as (
  clock: number,
  flags: number,
) => number;
const settime = library.func("timerfd_settime", "int", ["int", "int", "void *", "void *"]) as unknown as (
  fd: number,
  flags: number,
  value: BigInt64Array,
  old: null,
) => number;

// time.h, sys/timerfd.h
const CLOCK_MONOTONIC = 1;
const TFD_NONBLOCK = 0o4000;
const TFD_CLOEXEC = 0o2000000;
