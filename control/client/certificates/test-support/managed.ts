/** A manager of certificates, its authority, which answers when the test says so, and a clock that stands still. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { ManualClock, type Clock } from "../../../../core/base/clock.ts";
import { silentLog } from "../../../../core/base/log.ts";
import { seededRandom } from "../../../../core/base/random.ts";
import { formatIdentity, type Identity } from "../../../../core/protocol/spiffe/identity.ts";
import { CertificateError, type CertificateProvider, type WorkloadCertificate } from "../certificate.ts";
import { CertificateManager, type CertificateChange } from "../manager.ts";

export const hour = 3_600_000;
export const cart = identity("cart");

export interface Pending {
  readonly identity: Identity;
  readonly signal: AbortSignal;
  readonly resolve: (result: WorkloadCertificate | CertificateError) => void;
  readonly reject: (thrown: Error) => void;
}

/** Answers when a test says so; `dead`: at once, with an error. */
export class FakeProvider implements CertificateProvider {
  readonly pending: Pending[] = [];
  fetches = 0;
  dead = false;
  readonly #wallMs: () => number;

  constructor(wallMs: () => number) {
    this.#wallMs = wallMs;
  }

  fetch(identity: Identity, signal: AbortSignal): Promise<WorkloadCertificate | CertificateError> {
    this.fetches += 1;
    if (this.dead) return Promise.resolve(unavailable(identity));
    const { promise, resolve, reject } = Promise.withResolvers<WorkloadCertificate | CertificateError>();
    this.pending.push({ identity, signal, resolve, reject });
    return promise;
  }

  running(): number {
    return this.pending.filter(({ signal }) => !signal.aborted).length;
  }

  async issue(lifeMs = hour, wallMs = this.#wallMs()): Promise<void> {
    const next = this.#next();
    next?.resolve(certificateFor(next.identity, wallMs, lifeMs));
    await settle();
  }

  async fail(): Promise<void> {
    const next = this.#next();
    next?.resolve(unavailable(next.identity));
    await settle();
  }

  #next(): Pending | undefined {
    const index = this.pending.findIndex(({ signal }) => !signal.aborted);
    return index < 0 ? undefined : this.pending.splice(index, 1)[0];
  }
}

export function start(seed = 1, clock: Clock = new ManualClock()) {
  const provider = new FakeProvider(() => clock.wallMs());
  const manager = new CertificateManager({ provider, clock, random: seededRandom(seed), log: silentLog });
  const changes: CertificateChange[] = [];
  manager.onChange((change) => changes.push(change));
  return { manager, provider, clock: clock as ManualClock, changes };
}

/** The wall clock is set to another time than that of the simulation. */
export function stepping() {
  const clock = new ManualClock();
  let skewMs = 0;
  const step = (ms: number): void => void (skewMs = ms);
  const stepped: Clock = {
    nowMs: () => clock.nowMs(),
    wallMs: () => clock.wallMs() + skewMs,
    after: (ms, fire) => clock.after(ms, fire),
  };
  return { ...start(1, stepped), clock, step };
}

export async function issued(manager: CertificateManager, provider: FakeProvider, lifeMs: number, wallMs?: number) {
  const asked = manager.certificate(cart, "realtime");
  await provider.issue(lifeMs, wallMs);
  const answer = await asked;
  assert.ok(!(answer instanceof CertificateError));
  return answer;
}

export function certificateFor(of: Identity, wallMs: number, lifeMs: number): WorkloadCertificate {
  return {
    identity: of,
    key: privateKey,
    chainPem: ["-----BEGIN CERTIFICATE-----"],
    rootsPem: "-----BEGIN CERTIFICATE-----",
    serialNumber: "0A",
    notBefore: wallMs,
    notAfter: wallMs + lifeMs,
  };
}

export function unavailable(of: Identity): CertificateError {
  return new CertificateError({ code: "certificate.unavailable", identity: formatIdentity(of), detail: "dead" });
}

export function identity(serviceAccount: string): Identity {
  return { trustDomain: "cluster.local", namespace: "shop", serviceAccount };
}

export function codeOf(answer: WorkloadCertificate | CertificateError): string | undefined {
  return answer instanceof CertificateError ? answer.type.code : undefined;
}

/** Lets promises that are settled run their callbacks. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
