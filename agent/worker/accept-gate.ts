/**
 * Whether this worker may accept. Descriptors are the process's, and a connection that comes when there is none is closed by the kernel's
 * caller without a word (tried on Node 24: no event, no error), so accepting ends a reserve before; memory is the worker's own. What is not
 * accepted waits in the kernel.
 */
import type { VitalSigns } from "../vital-signs.ts";
import type { MemoryState, MemoryWatch } from "./memory-watch.ts";

export type GateReason = "FD_LIMIT" | "MEM_PRESSURE";

export interface AcceptGateOptions {
  readonly index: number;
  /** undefined: nothing is limited. */
  readonly signs: VitalSigns | undefined;
  readonly memory: Pick<MemoryWatch, "look">;
  /** Said when accepting shall end, with the reason, and when it may begin again. */
  readonly onChange: (closed: GateReason | undefined) => void;
}

export class AcceptGate {
  readonly #options: AcceptGateOptions;
  #closed: GateReason | undefined;

  constructor(options: AcceptGateOptions) {
    this.#options = options;
  }

  get closed(): GateReason | undefined {
    return this.#closed;
  }

  /** A connection was accepted. It will need a second descriptor for where it goes. */
  accepted(): void {
    const { signs, index } = this.#options;
    if (signs === undefined) return;
    signs.opened(index, descriptorsOfConnection);
    if (this.#closed === undefined && this.#fdShare() >= closeAt) this.#become("FD_LIMIT");
  }

  /** Called a few times a second. @returns what is said of memory. */
  look(): MemoryState {
    const memory = this.#options.memory.look();
    const share = this.#fdShare();
    if (this.#closed === undefined) {
      if (share >= closeAt) this.#become("FD_LIMIT");
      else if (memory !== "fine") this.#become("MEM_PRESSURE");
    } else if (share < openAt && memory === "fine") this.#become(undefined);
    return memory;
  }

  #become(closed: GateReason | undefined): void {
    this.#closed = closed;
    this.#options.onChange(closed);
  }

  #fdShare(): number {
    const { signs } = this.#options;
    const limit = signs?.descriptorLimit ?? 0;
    return signs === undefined || limit === 0 ? 0 : signs.descriptors / limit;
  }
}

const descriptorsOfConnection = 2;
/** The rest is for control, the node daemon, the store, the admin server, and what is accepted already. */
const closeAt = 0.9;
const openAt = 0.85;
