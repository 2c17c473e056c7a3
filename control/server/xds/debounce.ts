/** Many changes, one push: waits until it has been quiet for a while, but not for ever. */
import type { Clock } from "../../../core/base/clock.ts";

export interface DebounceOptions {
  readonly clock: Clock;
  /** Milliseconds without a change after which it flushes. */
  readonly quietMs: number;
  /** Milliseconds after the first change at which it flushes in any case. */
  readonly atMostMs: number;
  readonly flush: () => void;
}

export class Debounce {
  readonly #options: DebounceOptions;
  #state:
    { readonly kind: "idle" } | { readonly kind: "waiting"; readonly firstMs: number; readonly cancel: () => void } = {
    kind: "idle",
  };

  constructor(options: DebounceOptions) {
    this.#options = options;
  }

  /** Something has changed. */
  touch(): void {
    const { clock, quietMs, atMostMs } = this.#options;
    const nowMs = clock.nowMs();
    const firstMs = this.#state.kind === "waiting" ? this.#state.firstMs : nowMs;
    this.close();
    const delayMs = Math.max(0, Math.min(quietMs, firstMs + atMostMs - nowMs));
    this.#state = { kind: "waiting", firstMs, cancel: clock.after(delayMs, () => this.#flush()) };
  }

  /** What waits is dropped. */
  close(): void {
    if (this.#state.kind === "waiting") this.#state.cancel();
    this.#state = { kind: "idle" };
  }

  #flush(): void {
    this.#state = { kind: "idle" };
    this.#options.flush();
  }
}
