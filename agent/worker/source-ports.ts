/**
 * Local ports for connections to the application in its client's name. The kernel would choose one that the client itself may have in use towards the
 * same application: to the pod's connection tracking both would be one connection, and the later one would hang. Clients are given ports
 * from net.ipv4.ip_local_port_range, by default 32768 to 60999: ours come from around it.
 */
import type { Random } from "../../core/base/random.ts";

export class SourcePorts {
  readonly #random: Random;
  #last: number;
  #patience = mostTries;

  constructor(random: Random) {
    this.#random = random;
    this.#last = Math.floor(random() * count);
  }

  /** How many ports are worth trying for the next connection, before the kernel may choose. Where all are in use, one. */
  get tries(): number {
    return this.#patience;
  }

  /** The one that was not handed out for the longest time. Somebody else may have it. */
  next(): number {
    this.#last = (this.#last + 1) % count;
    return this.#last < below.count ? below.first + this.#last : above.first + this.#last - below.count;
  }

  /** Somebody has that one. Ports are held in runs, as they were handed out, to another worker say: the next one is from elsewhere. */
  wasTaken(): void {
    this.#last = Math.floor(this.#random() * count);
  }

  /** How a connection fared. */
  ended(how: "connected" | "none-free"): void {
    this.#patience = how === "connected" ? mostTries : Math.max(1, this.#patience >> 1);
  }
}

/** High enough to be nobody's to listen on. */
const below = { first: 20_000, count: 12_768 } as const;
const above = { first: 61_000, count: 4_536 } as const;
/** A full range is likelier than a longer run of bad luck. */
const mostTries = 8;
const count = below.count + above.count;
