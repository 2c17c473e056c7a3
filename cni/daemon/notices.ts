/** Says on pods why they aren't captured, once it has lasted long enough to be no passing state. */
import type { Clock } from "../../core/base/clock.ts";
import { noticeOf, type PodNotice } from "./not-captured.ts";
import type { PodStatus } from "./pod-status.ts";

export interface NoticeModules {
  readonly rows: () => readonly PodStatus[];
  /** Equal ones within five minutes may be told as one. */
  readonly say: (pod: PodStatus, notice: PodNotice) => void;
  readonly clock: Clock;
}

interface Pending {
  readonly notice: PodNotice;
  readonly sinceMs: number;
  saidMs: number | undefined;
}

export class Notices {
  readonly #modules: NoticeModules;
  readonly #pending = new Map<string, Pending>();
  #cancel: (() => void) | undefined;

  constructor(modules: NoticeModules) {
    this.#modules = modules;
    this.#schedule();
  }

  close(): void {
    this.#cancel?.();
  }

  #schedule(): void {
    this.#cancel = this.#modules.clock.after(tickMs, () => {
      this.#look();
      this.#schedule();
    });
  }

  #look(): void {
    const { rows, say, clock } = this.#modules;
    const nowMs = clock.nowMs();
    const present = new Set<string>();
    for (const row of rows()) {
      const notice = noticeOf(row);
      if (notice === undefined) continue;
      present.add(row.uid);
      const before = this.#pending.get(row.uid);
      // Reasons may alternate while the same thing is wrong: the time runs on.
      const isSame = before?.notice.message === notice.message;
      const pending = { notice, sinceMs: before?.sinceMs ?? nowMs, saidMs: isSame ? before.saidMs : undefined };
      this.#pending.set(row.uid, pending);
      const isRipe = notice.lasting || nowMs - pending.sinceMs >= passingMs;
      const isDue = pending.saidMs === undefined || (!notice.lasting && nowMs - pending.saidMs >= repeatMs);
      if (!isRipe || !isDue) continue;
      pending.saidMs = nowMs;
      say(row, notice);
    }
    for (const uid of this.#pending.keys()) if (!present.has(uid)) this.#pending.delete(uid);
  }
}

const tickMs = 1000;
/** A pod that starts is on its way for a second or two; whoever waits for the reason has it within ten. */
const passingMs = 4000;
const repeatMs = 300_000;
