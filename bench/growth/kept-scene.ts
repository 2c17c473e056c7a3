/** Curves whose sizes are measured in one scene, each built upon what the last one has left. */
import type { GrowthScenario, NotMeasured, Values } from "../scenarios/scenario.ts";

export interface KeptScene<T> {
  readonly name: string;
  /** In growing order. */
  readonly sizes: readonly number[];
  /** Before the first size: it takes seconds, and a run may not ask for this curve. Answers why there is none, in one sentence. */
  readonly open: () => Promise<T | string>;
  readonly measure: (scene: T, size: number) => Promise<Values | NotMeasured>;
}

export function growthIn<T extends { close(): Promise<void> }>(kept: KeptScene<T>): GrowthScenario {
  const { name, sizes, open, measure } = kept;
  let scene: T | undefined;
  return {
    kind: "growth",
    name,
    sizes,
    async measure(size) {
      if (scene === undefined) {
        const opened = await open();
        if (typeof opened === "string") return { notMeasured: opened };
        scene = opened;
      }
      return measure(scene, size);
    },
    async finish() {
      await scene?.close();
      scene = undefined;
    },
  };
}
