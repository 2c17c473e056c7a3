/** What control signs with: one at a time, which may be followed by another while control runs. */
import type { Issuer } from "../../../core/protocol/x509/certificate.ts";

export interface SigningChain {
  readonly issuer: Issuer;
  /** PEM, one certificate each, from the issuer up to but without its root; empty when the issuer is the root. */
  readonly intermediates: readonly string[];
  /** PEM of every root a peer must trust. */
  readonly rootsPem: string;
}

/** A root that signs leaves itself. */
export function rootOnly(issuer: Issuer): SigningChain {
  return { issuer, intermediates: [], rootsPem: issuer.certificatePem };
}

export class MeshAuthority {
  readonly #listeners = new Set<() => void>();
  #chain: SigningChain;

  constructor(chain: SigningChain) {
    this.#chain = chain;
  }

  get chain(): SigningChain {
    return this.#chain;
  }

  /** Signs with `chain` from now on. */
  replace(chain: SigningChain): void {
    this.#chain = chain;
    for (const listener of this.#listeners) listener();
  }

  /** @returns the way out. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
