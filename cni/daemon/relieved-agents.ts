/**
 * An agent that another one has relieved lives on until its last connection has ended, which can take days. To Kubernetes a node is as
 * up to date as the oldest pod of the DaemonSet there, so that whoever waits for an upgrade would wait as long. The label that the
 * DaemonSet finds its pods by is therefore changed on such a pod: it is nobody's then, is on its way out already, and ends by itself.
 */
import type { Clock } from "../../core/base/clock.ts";
import type { Log } from "../../core/base/log.ts";
import type { Pod } from "../../control/sources/objects.ts";

export interface RelievedAgentsModules {
  /** Of this node. */
  readonly pods: () => readonly Pod[];
  /** Where our own parts are. */
  readonly namespace: string;
  /** Sets labels of that very pod. @returns what went wrong; it is tried again. */
  readonly label: (pod: Pod, labels: Readonly<Record<string, string>>) => Promise<Error | undefined>;
  readonly clock: Clock;
  readonly log: Log;
}

const componentLabel = "app.kubernetes.io/component";
const relievedComponent = "agent-relieved";

export class RelievedAgents {
  readonly #modules: RelievedAgentsModules;
  /** UIDs. Most agents are gone before they are seen twice, and nothing need be said of them. */
  #seen: ReadonlySet<string> = new Set();
  #cancel: () => void = () => {};
  #closed = false;

  constructor(modules: RelievedAgentsModules) {
    this.#modules = modules;
    this.#schedule();
  }

  close(): void {
    this.#closed = true;
    this.#cancel();
  }

  #schedule(): void {
    if (this.#closed) return;
    this.#cancel = this.#modules.clock.after(tickMs, () => void this.#look().finally(() => this.#schedule()));
  }

  async #look(): Promise<void> {
    const { pods, namespace, label, log } = this.#modules;
    const relieved = relievedAgents(pods(), namespace);
    const before = this.#seen;
    this.#seen = new Set(relieved.map(({ metadata }) => metadata.uid));
    for (const pod of relieved.filter(({ metadata }) => before.has(metadata.uid))) {
      const error = await label(pod, { [componentLabel]: relievedComponent });
      const { name } = pod.metadata;
      if (error === undefined)
        log.info({ pod: name }, "an agent lives on for its last connections; its DaemonSet lets go");
      else log.warn({ pod: name, error: error.message }, "the DaemonSet waits for an agent that lives on; tried again");
    }
  }
}

/** Agents that are on their way out while another one of the node is ready. */
export function relievedAgents(pods: readonly Pod[], namespace: string): Pod[] {
  const agents = pods.filter(({ metadata }) => {
    const { "app.kubernetes.io/name": name, [componentLabel]: component } = metadata.labels;
    return metadata.namespace === namespace && name === "ambientd" && component === "agent";
  });
  const isLeaving = ({ metadata }: Pod): boolean => metadata.deletionTimestamp !== undefined;
  const isReady = ({ status }: Pod): boolean =>
    status.conditions.some((condition) => condition.type === "Ready" && condition.status === "True");
  return agents.some((agent) => !isLeaving(agent) && isReady(agent)) ? agents.filter(isLeaving) : [];
}

const tickMs = 3_000;
