/**
 * Finds out that a resolver sends us our own queries back, without asking anything of those that don't. Suspicion: the same question waits at the
 * same resolver many times over. Proof: a probe with a name that nobody else knows comes back to one of our own listeners, and is answered there
 * with what nobody else can know. Without it one query would go round until the kernel's tables are full.
 */
import { createHmac, randomBytes } from "node:crypto";
import { formatEndpoint, formatIp, type Endpoint } from "../../core/base/ip.ts";
import { classIn, headerFlags, headerLength, types } from "../../core/protocol/dns/constants.ts";
import { isAnswerTo } from "../../core/protocol/dns/message-view.ts";

export interface LoopGuardModules {
  readonly secret: string;
  readonly nowMs: () => number;
  /** Sends the probe to that resolver, and says whether this was found: {@link isProbeReturned}. */
  readonly probe: (server: Endpoint, query: Uint8Array) => void;
}

interface Server {
  /** Bytes of questions that wait, and how many of each. */
  readonly waiting: Map<string, number>;
  /** No probe before. */
  probeAfterMs: number;
  /** It loops until then, unless it is found to go on. */
  loopsUntilMs: number;
}

export class LoopGuard {
  readonly #modules: LoopGuardModules;
  readonly #servers = new Map<string, Server>();

  constructor(modules: LoopGuardModules) {
    this.#modules = modules;
  }

  /** A question is about to be put to that resolver. @returns false where it would come back. */
  begin(server: Endpoint, question: string): boolean {
    const state = this.#of(server);
    const nowMs = this.#modules.nowMs();
    if (nowMs < state.loopsUntilMs) return false;
    const waiting = (state.waiting.get(question) ?? 0) + 1;
    state.waiting.set(question, waiting);
    if (waiting >= suspicious && nowMs >= state.probeAfterMs) {
      state.probeAfterMs = nowMs + probeEveryMs;
      this.#modules.probe(server, probeQuery(this.#modules.secret));
    }
    return true;
  }

  /** What was begun is over. */
  end(server: Endpoint, question: string): void {
    const key = formatEndpoint(server);
    const state = this.#servers.get(key);
    const waiting = state?.waiting.get(question);
    if (state === undefined || waiting === undefined) return;
    if (waiting > 1) state.waiting.set(question, waiting - 1);
    else state.waiting.delete(question);
    const nowMs = this.#modules.nowMs();
    if (state.waiting.size === 0 && nowMs >= state.loopsUntilMs && nowMs >= state.probeAfterMs)
      this.#servers.delete(key);
  }

  /** The probe came back. */
  found(server: Endpoint): void {
    this.#of(server).loopsUntilMs = this.#modules.nowMs() + loopsForMs;
  }

  #of(server: Endpoint): Server {
    const key = formatEndpoint(server);
    const known = this.#servers.get(key);
    if (known !== undefined) return known;
    const made = { waiting: new Map<string, number>(), probeAfterMs: 0, loopsUntilMs: 0 };
    this.#servers.set(key, made);
    return made;
  }
}

/** The address that a probe of that name is answered with; undefined for what is no probe of this agent's. @param name in lower case. */
export function probeAnswer(name: string | undefined, secret: string): string | undefined {
  if (name?.endsWith(probeSuffix) !== true) return undefined;
  const [nonce = "", proof = ""] = name.split(".");
  return proof === keyed(secret, "asked", nonce).toString("hex")
    ? formatIp(keyed(secret, "answered", nonce))
    : undefined;
}

/** Whether a reply to a probe is one that only this agent gives. */
export function isProbeReturned(query: Uint8Array, reply: Uint8Array, secret: string): boolean {
  if (!isAnswerTo(query, reply)) return false;
  const nonce = Buffer.from(query.subarray(headerLength + 1, headerLength + 1 + nonceLength)).toString("latin1");
  return Buffer.from(reply).includes(keyed(secret, "answered", nonce), query.length);
}

/** `NONCE.PROOF.ambientd-loop.invalid AAAA`: RFC 6761 has nobody else answer for `.invalid`. */
function probeQuery(secret: string): Uint8Array {
  const nonce = randomBytes(nonceLength / 2).toString("hex");
  const labels = [nonce, keyed(secret, "asked", nonce).toString("hex"), "ambientd-loop", "invalid"];
  const header = Buffer.alloc(headerLength);
  header.set(randomBytes(2), 0);
  header.writeUInt16BE(headerFlags.recursionDesired, 2);
  header.writeUInt16BE(1, 4);
  const name = labels.flatMap((label) => [Buffer.of(label.length), Buffer.from(label)]);
  return Buffer.concat([header, ...name, Buffer.of(0, 0, types.AAAA, 0, classIn)]);
}

function keyed(secret: string, purpose: "asked" | "answered", nonce: string): Buffer {
  return createHmac("sha256", secret).update(`${purpose} ${nonce}`).digest().subarray(0, 16);
}

const probeSuffix = ".ambientd-loop.invalid";
/** Characters. */
const nonceLength = 32;
/** So many clients of one pod may well ask the same at once; a probe then costs one query. */
const suspicious = 8;
const probeEveryMs = 2_000;
const loopsForMs = 10_000;
