/** One object by name, followed for as long as one likes; of any kind, whether or not it exists yet. */
import { Reflector, type ReflectorOptions } from "./reflector.ts";
import type { ApiKind } from "./paths.ts";
import type { RawObject } from "./raw-object.ts";

export interface WatchOneOptions extends Pick<ReflectorOptions, "client" | "log" | "clock" | "random" | "timing"> {
  readonly kind: ApiKind;
  /** Empty for cluster-scoped kinds. */
  readonly namespace: string;
  readonly name: string;
  /** Once when it is first known whether there is one, then at every change; undefined: there is none. */
  readonly onChange: (object: RawObject | undefined) => void;
}

export interface ObjectWatch {
  /** Settles with the first call of `onChange`. */
  readonly synced: Promise<void>;
  close(): void;
}

/** Needs `list` and `watch` on that name only: a rule with resourceNames does. */
export function watchObject({ kind, namespace, name, onChange, ...options }: WatchOneOptions): ObjectWatch {
  const { promise, resolve } = Promise.withResolvers<void>();
  let isKnown = false;
  const tell = (object: RawObject | undefined): void => {
    isKnown = true;
    onChange(object);
    resolve();
  };
  const reflector = new Reflector({
    ...options,
    selection: { kind, ...(namespace === "" ? {} : { namespace }), fieldSelector: `metadata.name=${name}` },
    onDeltas: (deltas) => {
      const last = deltas.at(-1);
      if (last !== undefined) tell(last.op === "put" ? last.object : undefined);
    },
    onState: () => {
      if (reflector.isSynced && !isKnown) tell(undefined);
    },
  });
  reflector.start();
  return { synced: promise, close: () => reflector.close() };
}
