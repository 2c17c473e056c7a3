/**
 * What a worker knows of revoked certificates, and the tunnels that stand on certificates that may yet be revoked. New handshakes ask
 * here; when new lists come, everything that stands is asked about again.
 */
import { X509Certificate } from "node:crypto";
import { certificateId, type CertificateId } from "../../core/protocol/x509/certificate-id.ts";
import { certificatesOf } from "../../core/protocol/x509/pem.ts";
import { hasSerial, type SerialSet } from "../../core/protocol/x509/serial-set.ts";
import { X509Error } from "../../core/protocol/x509/x509-error.ts";

/** One authority's list, as it crosses from the main thread: the octets are shared, not copied. */
export interface RevokedSerials {
  /** nameKey of the authority. */
  readonly issuer: string;
  readonly serials: SerialSet;
}

/** Certificates by which a peer was believed. */
export type ChainIds = readonly CertificateId[];

interface Watched {
  readonly ids: ChainIds;
  readonly cut: (revoked: CertificateId) => void;
}

export class Revocations {
  #lists: ReadonlyMap<string, readonly SerialSet[]> = new Map();
  readonly #watched = new Set<Watched>();
  readonly #roots = new Map<string, readonly X509Certificate[]>();

  /** These are in force from now on, instead of those before. @returns how many tunnels were cut. */
  use(lists: readonly RevokedSerials[]): number {
    const byIssuer = new Map<string, SerialSet[]>();
    for (const { issuer, serials } of lists) byIssuer.set(issuer, [...(byIssuer.get(issuer) ?? []), serials]);
    this.#lists = byIssuer;
    let cut = 0;
    for (const watched of [...this.#watched]) {
      const revoked = this.revoked(watched.ids);
      if (revoked === undefined) continue;
      this.#watched.delete(watched);
      cut += 1;
      watched.cut(revoked);
    }
    return cut;
  }

  /** The first of them that a list names. What no list speaks of is not revoked. */
  revoked(ids: ChainIds): CertificateId | undefined {
    return ids.find(({ issuer, serial }) => this.#lists.get(issuer)?.some((set) => hasSerial(set, serial)));
  }

  /** Cuts a tunnel as soon as one of its certificates is revoked. @returns ends the watch: the tunnel has gone. */
  watch(ids: ChainIds, cut: (revoked: CertificateId) => void): () => void {
    const watched = { ids, cut };
    this.#watched.add(watched);
    return () => this.#watched.delete(watched);
  }

  /** How many tunnels are watched. */
  get watching(): number {
    return this.#watched.size;
  }

  /**
   * Every certificate that the peer's chain may lead over, its own first. TLS does not say which way it went, and a peer may show more
   * certificates than it needs: each that could have issued one of the others counts, so that none is hidden behind another.
   * @param presented by the peer, its own first. @param roots PEM of those we trust. @returns undefined where one cannot be read.
   */
  idsOf(presented: readonly X509Certificate[], roots: string): ChainIds | undefined {
    const [leaf, ...others] = presented;
    if (leaf === undefined) return undefined;
    const reached = [leaf];
    const left = new Set([...others, ...this.#parsed(roots)]);
    for (const certificate of reached) {
      for (const other of left) {
        if (!certificate.checkIssued(other)) continue;
        left.delete(other);
        reached.push(other);
      }
    }
    const ids: CertificateId[] = [];
    for (const certificate of reached) {
      const id = certificateId(certificate.raw);
      if (id === undefined) return undefined;
      ids.push(id);
    }
    return ids;
  }

  #parsed(roots: string): readonly X509Certificate[] {
    const known = this.#roots.get(roots);
    if (known !== undefined) return known;
    const pems = certificatesOf(roots);
    const parsed = pems instanceof X509Error ? [] : pems.map((pem) => new X509Certificate(pem));
    // A mesh has one bundle of roots, and during a rotation two.
    if (this.#roots.size >= mostBundles) this.#roots.clear();
    this.#roots.set(roots, parsed);
    return parsed;
  }
}

const mostBundles = 8;
