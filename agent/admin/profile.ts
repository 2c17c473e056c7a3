/**
 * Profiles of the thread that asks itself, by Node's inspector within the process: no port is opened. What time goes to, and which
 * functions allocate; never what is in memory: a snapshot of the heap would hold keys (hostile input 100), so there is none.
 */
import type { Clock } from "../../core/base/clock.ts";

export interface ProfileRequest {
  readonly what: "cpu" | "heap";
  /** 1 to 300. */
  readonly seconds: number;
  /** Samples a second, 1 to 1,000: of `cpu` only. */
  readonly frequency: number;
}

/** As JSON, in the form that browsers' developer tools open: .cpuprofile, .heapprofile. */
export async function takeProfile({ what, seconds, frequency }: ProfileRequest, clock: Clock): Promise<string> {
  const { Session } = await import("node:inspector/promises");
  const session = new Session();
  session.connect();
  const passed = (): Promise<void> => new Promise((resolve) => void clock.after(seconds * 1_000, resolve));
  // The clock's timers keep nothing alive: who asks waits, and his connection does.
  try {
    if (what === "cpu") {
      await session.post("Profiler.enable");
      await session.post("Profiler.setSamplingInterval", { interval: Math.round(1e6 / frequency) });
      await session.post("Profiler.start");
      await passed();
      return JSON.stringify((await session.post("Profiler.stop")).profile);
    }
    await session.post("HeapProfiler.startSampling", { samplingInterval: 32_768 });
    await passed();
    return JSON.stringify((await session.post("HeapProfiler.stopSampling")).profile);
  } finally {
    session.disconnect();
  }
}

/** What `/debug/pprof/profile?seconds=10&frequency=100` asks for, or why it is refused. */
export function profileRequest(what: ProfileRequest["what"], parameters: URLSearchParams): ProfileRequest | string {
  const seconds = Number(parameters.get("seconds") ?? 10);
  const frequency = Number(parameters.get("frequency") ?? 100);
  if (!isWhole(seconds, 300)) return "seconds is no whole number from 1 to 300";
  if (!isWhole(frequency, 1_000)) return "frequency is no whole number from 1 to 1000";
  return { what, seconds, frequency };
}

function isWhole(value: number, most: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= most;
}
