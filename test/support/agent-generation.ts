/** One of several agents that follow each other on a node, as far as sockets of pods go. */
import assert from "node:assert/strict";
import type { DnsListenSettings } from "../../agent/listeners/pod-listeners.ts";
import { StoreClient } from "../../agent/listeners/store-client.ts";
import { Pods } from "../../agent/pods.ts";
import type { PodDelivery } from "../../agent/worker-messages.ts";
import { ManualClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import { closeDescriptor, duplicateDescriptor } from "../../core/linux/sockets.ts";

/** Where its node's listener store is. */
export const storePath = "/run/listeners.sock";

export const podInfo = { name: "web-1", namespace: "shop", serviceAccount: "web" };

/** An agent's main thread with one worker that listens at once and keeps what it is given. */
export class AgentGeneration {
  readonly clock = new ManualClock();
  readonly deliveries: PodDelivery[] = [];
  readonly store: StoreClient;
  readonly pods: Pods;

  /** @param dns undefined: it answers no queries. */
  constructor(dns?: DnsListenSettings) {
    const modules = { clock: this.clock, log: silentLog };
    this.store = new StoreClient({
      ...modules,
      path: storePath,
      held: (uid) => this.pods.held(uid),
      onConnected: () => {},
    });
    this.pods = new Pods(
      { packetMark: 1337, ipv6: true, originalSource: undefined, lingerMs: 0, dns },
      {
        ...modules,
        store: this.store,
        workers: () => [0],
        broadcast: () => {},
        serve: (_worker, delivery) => {
          this.deliveries.push(delivery);
          queueMicrotask(() => this.pods.receive({ kind: "pod-serving", uid: delivery.uid }, 0));
        },
        onChange: () => {},
      },
    );
    this.store.start();
  }

  /** Serves pod `a`. @param netns descriptor of its namespace, which stays the caller's. */
  async serve(netns: number): Promise<PodDelivery> {
    const copy = duplicateDescriptor(netns);
    assert.ok(typeof copy === "number");
    assert.equal(await this.pods.serve("a", podInfo, copy), undefined);
    const [delivery] = this.deliveries;
    assert.ok(delivery);
    return delivery;
  }

  /** As kill -9 leaves things: every descriptor of the process is closed, nothing is said. */
  die(): void {
    this.store.close();
    for (const { descriptors } of this.deliveries) {
      const { outbound, plaintext, hbone, dns = [] } = descriptors;
      [outbound, plaintext, hbone, ...dns.map(({ fd }) => fd)].forEach(closeDescriptor);
    }
    this.deliveries.length = 0;
    this.pods.stopOthers(new Set());
    this.pods.workerLost(0);
  }
}
