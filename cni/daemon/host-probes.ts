/** Keeps the node's own rules and the sets of probed pods as they should be. The kernel is the memory: a daemon that starts finds what
 *  an earlier one left, and an address is taken out only by the pod it belongs to. */
import { messageOf } from "../../core/base/errors.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { applyTransaction } from "../../core/linux/nftables/apply.ts";
import type { NftOperation, SetElement } from "../../core/linux/nftables/model.ts";
import { drift, readBack, readSet } from "../../core/linux/nftables/read-back.ts";
import { CniError } from "./errors.ts";
import {
  hostFamily,
  hostRules,
  hostTable,
  installHostRules,
  probeSets,
  putProbed,
  removeHostRules,
  removeProbed,
} from "./host-rules.ts";

/** Whose probes pass: what the reconciler tells of captured pods. Everything may be repeated. */
export interface ProbePort {
  /** Probes of this pod shall pass at these addresses, and at no others it had. */
  allow(uid: string, addresses: readonly string[]): Promise<CniError | undefined>;
  /** The pod is no longer captured, or no more. */
  forget(uid: string): Promise<CniError | undefined>;
  /** In every full round: rules and sets are as these captured pods need them. `prune`: what belongs to no other pod goes. */
  keep(captured: ReadonlyMap<string, readonly string[]>, prune: boolean): Promise<CniError | undefined>;
}

/** For a node whose probes need no help: the lab's, where none are sent. */
export const noProbes: ProbePort = {
  allow: async () => undefined,
  forget: async () => undefined,
  keep: async () => undefined,
};

export class HostProbes implements ProbePort {
  readonly #netns: number;
  readonly #kubeletUid: () => number | undefined;
  #ruleUid = 0;
  /** What shall stand, by pod UID, since the last transaction: the kernel takes some ten milliseconds for each, few or many. */
  #wanted = new Map<string, readonly string[]>();
  #writing: Promise<CniError | undefined> | undefined;
  #isRemoved = false;

  /**
   * @param netns descriptor of the node's own namespace; the caller's to close, later.
   * @param kubeletUid looks it up; undefined where no kubelet is seen, which then is taken for root's.
   */
  constructor(netns: number, kubeletUid: () => number | undefined) {
    this.#netns = netns;
    this.#kubeletUid = kubeletUid;
  }

  /** Rules and sets are there and right; what they hold stays. Called at the start and in each full round. */
  async ensure(): Promise<CniError | undefined> {
    const uid = this.#kubeletUid() ?? this.#ruleUid;
    const actual = readBack(this.#netns, hostFamily, hostTable);
    if (actual instanceof LinuxError) return hostError(actual);
    const sets = [probeSets.ipv4, probeSets.ipv6].map((set) => readSet(this.#netns, hostFamily, hostTable, set));
    const whole = sets.every(Array.isArray) && drift(hostRules(uid), actual).length === 0;
    if (!whole) {
      const failure = await this.#apply(installHostRules(uid));
      if (failure !== undefined) return failure;
    }
    this.#ruleUid = uid;
    return undefined;
  }

  allow(uid: string, addresses: readonly string[]): Promise<CniError | undefined> {
    // The last word on a pod counts, and comes last.
    this.#wanted.delete(uid);
    this.#wanted.set(uid, addresses);
    this.#writing ??= new Promise((resolve) => setImmediate(() => resolve(this.#write())));
    return this.#writing;
  }

  async keep(captured: ReadonlyMap<string, readonly string[]>, prune: boolean): Promise<CniError | undefined> {
    const failure = await this.ensure();
    if (failure !== undefined) return failure;
    const held = this.#held();
    if (held instanceof CniError) return held;
    // Left by pods that went while no daemon looked.
    const stale = prune ? held.filter(({ comment }) => !captured.has(comment)).map(({ address }) => address) : [];
    const staying = held.filter(({ address }) => !stale.includes(address));
    const wrong = [...captured].flatMap(([uid, addresses]) => corrections(staying, uid, addresses));
    return this.#apply([...removeProbed(stale), ...wrong]);
  }

  forget(uid: string): Promise<CniError | undefined> {
    return this.allow(uid, []);
  }

  /** Nothing of ours stays in the node's namespace, nor comes back: a full round may be under way. */
  async remove(): Promise<CniError | undefined> {
    this.#isRemoved = true;
    const failure = await this.#commit(removeHostRules());
    this.#isRemoved = failure === undefined;
    return failure;
  }

  #write(): Promise<CniError | undefined> {
    const wanted = this.#wanted;
    this.#wanted = new Map();
    this.#writing = undefined;
    const held = this.#held();
    if (held instanceof CniError) return Promise.resolve(held);
    return this.#apply([...wanted].flatMap(([uid, addresses]) => corrections(held, uid, addresses)));
  }

  /** Both sets together; a table that is not there (yet) holds nothing. */
  #held(): SetElement[] | CniError {
    const all: SetElement[] = [];
    for (const set of [probeSets.ipv4, probeSets.ipv6]) {
      const elements = readSet(this.#netns, hostFamily, hostTable, set);
      if (elements instanceof LinuxError) return hostError(elements);
      all.push(...(elements ?? []));
    }
    return all;
  }

  async #apply(operations: readonly NftOperation[]): Promise<CniError | undefined> {
    return this.#isRemoved ? undefined : this.#commit(operations);
  }

  async #commit(operations: readonly NftOperation[]): Promise<CniError | undefined> {
    try {
      const failure = await applyTransaction(this.#netns, operations);
      return failure === undefined ? undefined : hostError(failure);
    } catch (thrown) {
      return hostError(thrown);
    }
  }
}

/** @param held as the transaction finds it; an address that goes from one pod to another in it is taken out once at most. */
function corrections(held: SetElement[], uid: string, addresses: readonly string[]): NftOperation[] {
  const left = ofPod(held, uid).filter((address) => !addresses.includes(address));
  const missing = addresses.filter((address) => !held.some((one) => one.address === address && one.comment === uid));
  const changed = new Set([...left, ...missing]);
  const rest = held.filter(({ address }) => !changed.has(address));
  held.splice(0, held.length, ...rest, ...missing.map((address) => ({ address, comment: uid })));
  return [...removeProbed(left), ...putProbed(uid, missing)];
}

function ofPod(elements: readonly SetElement[], uid: string): string[] {
  return elements.filter(({ comment }) => comment === uid).map(({ address }) => address);
}

function hostError(thrown: unknown): CniError {
  return new CniError({ code: "cni.kernel", step: "probes", cause: messageOf(thrown) });
}
