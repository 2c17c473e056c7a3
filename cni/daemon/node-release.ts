/** Gives a node up, once: pods first, for until they have left somebody must serve them; then the plugin, so that no new pod asks for a
 *  daemon that will be gone; last it is said. Every step is made whatever became of the one before. */
import type { Clock } from "../../core/base/clock.ts";
import { messageOf, TypedError, type ErrorData } from "../../core/base/errors.ts";
import type { Log } from "../../core/base/log.ts";
import type { ReleaseLimits } from "./reconciler-ports.ts";

export interface NodeReleaseModules {
  readonly pods: (limits: ReleaseLimits) => Promise<void>;
  readonly uninstall: () => Promise<TypedError<ErrorData> | undefined>;
  /** Tells whoever waits for it. */
  readonly confirm: () => Promise<TypedError<ErrorData> | undefined>;
  readonly clock: Clock;
  readonly log: Log;
}

export class NodeRelease {
  readonly #modules: NodeReleaseModules;
  #done: Promise<void> | undefined;

  constructor(modules: NodeReleaseModules) {
    this.#modules = modules;
  }

  /** It has begun, or is over. */
  get begun(): boolean {
    return this.#done !== undefined;
  }

  /**
   * Settles when all is done that can be done. A second call waits for the first.
   * @param totalMs after which the plugin goes though pods are left; they are waited for nevertheless, before it is said.
   */
  run(limits: ReleaseLimits, totalMs: number): Promise<void> {
    this.#done ??= this.#run(limits, totalMs);
    return this.#done;
  }

  async #run(limits: ReleaseLimits, totalMs: number): Promise<void> {
    const { pods, uninstall, log, clock } = this.#modules;
    log.info(limits, "giving up this node: its pods leave the mesh");
    const left = guarded(pods(limits));
    const late = Promise.withResolvers<"late">();
    const cancel = clock.after(totalMs, () => late.resolve("late"));
    const isLate = (await Promise.race([left, late.promise])) === "late";
    cancel();
    if (isLate) log.error({ totalMs }, "not every pod has left in time; those that stay are in /pods of daemon.sock");
    const kept = await guarded(uninstall());
    if (kept !== undefined) log.error({ error: kept }, "the plugin could not be taken off this node");
    const stayed = await left;
    if (stayed !== undefined) log.error({ error: stayed }, "pods could not be released");
    if (stayed === undefined && kept === undefined) await this.#confirm();
  }

  async #confirm(): Promise<void> {
    const { confirm, log, clock } = this.#modules;
    for (let attempt = 1; ; attempt += 1) {
      const unsaid = await guarded(confirm());
      if (unsaid === undefined) return log.info("this node is released");
      log.warn({ error: unsaid, attempt }, "this node is released, but it could not be said");
      if (attempt === confirmAttempts) return;
      await new Promise<void>((resolve) => clock.after(1000, resolve));
    }
  }
}

/** What went wrong, in words. */
async function guarded(work: Promise<unknown>): Promise<string | undefined> {
  try {
    const outcome = await work;
    return outcome instanceof TypedError ? outcome.message : undefined;
  } catch (thrown) {
    return messageOf(thrown);
  }
}

const confirmAttempts = 10;
