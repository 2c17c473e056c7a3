/** Readiness as named gates, each with the reason why it is still closed (agent-wire 9.4). */
import type { Gate } from "./worker-messages.ts";
import type { ZdsPhase } from "./zds-client.ts";

export type GateName = "state manager" | "proxy" | "workload proxy manager";

export class Readiness {
  readonly #pending = new Map<GateName, string>([
    ["state manager", "control has not sent every type yet"],
    ["proxy", "workers are starting"],
    ["workload proxy manager", "not connected to the node daemon"],
  ]);
  readonly #onChange: () => void;

  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  open(gate: GateName): void {
    if (this.#pending.delete(gate)) this.#onChange();
  }

  close(gate: GateName, reason: string): void {
    if (this.#pending.get(gate) === reason) return;
    this.#pending.set(gate, reason);
    this.#onChange();
  }

  /** The gate of the pods: open while the node daemon is there, has named them all, and each of them is served. */
  podsAre(zds: ZdsPhase, pending: readonly string[]): void {
    const gate = "workload proxy manager";
    if (zds === "disconnected") this.close(gate, "not connected to the node daemon");
    else if (zds === "snapshot") this.close(gate, "the node daemon is still naming pods");
    else if (pending.length > 0) this.close(gate, `not served: ${pending.join(" ")}`);
    else this.open(gate);
  }

  get gates(): Gate[] {
    return gateNames.map((name) => {
      const pending = this.#pending.get(name);
      return pending === undefined ? { name } : { name, pending };
    });
  }
}

const gateNames: readonly GateName[] = ["state manager", "proxy", "workload proxy manager"];
