/** A worker's copy of the mesh: applies slices in order, tells who waits, and has affected connections judged again. */
import type { Clock } from "../../core/base/clock.ts";
import { MeshState, type MeshChange } from "../../core/decision/mesh-state.ts";
import type { PodInfo } from "../../core/protocol/zds/messages.ts";
import { SliceReader, type MeshSlice } from "../mesh-slice.ts";
import type { MeshWorkload } from "../../core/protocol/wds/workload.ts";

export class WorkerMesh {
  readonly state = new MeshState({ awaitsPolicies: true });
  readonly #reader = new SliceReader((uid) => this.state.workload(uid));
  readonly #clock: Clock;
  readonly #waiting = new Set<() => void>();
  readonly #onChange: (change: MeshChange, left: ReadonlySet<string>) => void;

  /** @param onChange `left`: addresses whose workloads are gone. */
  constructor(clock: Clock, onChange: (change: MeshChange, left: ReadonlySet<string>) => void) {
    this.#clock = clock;
    this.#onChange = onChange;
  }

  apply(slice: MeshSlice): void {
    const update = this.#reader.updateOf(slice);
    const left = new Set<string>();
    for (const uid of update.removed?.addresses ?? [])
      for (const address of this.state.workload(uid)?.addresses ?? []) left.add(address);
    const change = this.state.apply(update);
    this.#onChange(change, left);
    const isWorthALook = change.workloads.size > 0 || update.policiesComplete === true;
    if (this.#waiting.size > 0 && isWorthALook) for (const look of [...this.#waiting]) look();
  }

  /** Whether somebody can't go on before more of the mesh is here. */
  get isAwaited(): boolean {
    return this.#waiting.size > 0;
  }

  /** The workload that a pod of this node is. */
  workloadOf({ namespace, name, serviceAccount }: PodInfo): MeshWorkload | undefined {
    return this.state.workloadOf(namespace, name, serviceAccount);
  }

  /** The same, waiting for control to tell of it for up to `deadlineMs`. */
  waitForWorkload(pod: PodInfo, deadlineMs: number): Promise<MeshWorkload | undefined> {
    return this.#wait(() => this.workloadOf(pod), pod, deadlineMs);
  }

  /** The same for who decides about a connection: undefined also while policies are still to come. */
  decidable(pod: PodInfo): MeshWorkload | undefined {
    return this.state.awaitsPolicies ? undefined : this.workloadOf(pod);
  }

  /** Waits for the workload and for policies. After `deadlineMs` it is the workload alone, if that is known: the decision says what is missing. */
  waitUntilDecidable(pod: PodInfo, deadlineMs: number): Promise<MeshWorkload | undefined> {
    return this.#wait(() => this.decidable(pod), pod, deadlineMs);
  }

  #wait(find: () => MeshWorkload | undefined, pod: PodInfo, deadlineMs: number): Promise<MeshWorkload | undefined> {
    const known = find();
    if (known !== undefined) return Promise.resolve(known);
    return new Promise((resolve) => {
      const settle = (workload: MeshWorkload | undefined): void => {
        cancel();
        this.#waiting.delete(look);
        resolve(workload);
      };
      const look = (): void => {
        const workload = find();
        if (workload !== undefined) settle(workload);
      };
      const cancel = this.#clock.after(deadlineMs, () => settle(this.workloadOf(pod)));
      this.#waiting.add(look);
    });
  }
}
