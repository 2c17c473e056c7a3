/** The identities of this node's pods as a worker has them: the newest certificate of each, and who waits for one. */
import type { KeyObject } from "node:crypto";
import type { Clock } from "../../core/base/clock.ts";
import { formatIdentity, type Identity } from "../../core/protocol/spiffe/identity.ts";
import type { TlsPolicy } from "../tunnel/tls-policy.ts";
import { engineOf, type EngineName } from "../tunnel/engine.ts";
import type { ClientTls } from "../tunnel/tls-engine.ts";
import type { TlsIdentity } from "../tunnel/tls.ts";
import { TunnelError } from "../tunnel/tunnel.ts";

/** A certificate as the main thread sends it: the key as a handle, made PEM only here, where TLS wants it so. */
export interface CertificateDelivery {
  readonly identity: Identity;
  readonly key: KeyObject;
  readonly chainPem: readonly string[];
  readonly rootsPem: string;
  /** Milliseconds since 1970. */
  readonly notAfter: number;
}

/** Ready for use. */
export interface WorkerCertificate {
  readonly uri: string;
  readonly tls: TlsIdentity;
  /** Built once, for all of this identity's client tunnels. */
  readonly context: ClientTls;
}

type Waiter = (result: WorkerCertificate | TunnelError) => void;

export interface WorkerCertificatesOptions {
  readonly clock: Clock;
  /** Somebody waits: the main thread shall hurry. */
  readonly onWanted: (identity: Identity) => void;
  /** Default: agent/tunnel/tls-policy.ts. */
  readonly policy?: TlsPolicy | undefined;
  /** Whose tunnels they are for. Default: our own. */
  readonly engine?: EngineName | undefined;
}

export class WorkerCertificates {
  readonly #options: WorkerCertificatesOptions;
  readonly #held = new Map<string, WorkerCertificate>();
  readonly #waiting = new Map<string, Set<Waiter>>();
  readonly #listeners = new Set<(certificate: WorkerCertificate) => void>();

  constructor(options: WorkerCertificatesOptions) {
    this.#options = options;
  }

  put(delivery: CertificateDelivery): void {
    const { identity, key, chainPem, rootsPem, notAfter } = delivery;
    const tls: TlsIdentity = {
      identity,
      chain: chainPem.join(""),
      key: key.export({ type: "pkcs8", format: "pem" }) as string,
      roots: rootsPem,
      notAfter,
      ...(this.#options.policy && { policy: this.#options.policy }),
    };
    const certificate = { uri: formatIdentity(identity), tls, context: engineOf(this.#options.engine).clientTls(tls) };
    this.#held.set(certificate.uri, certificate);
    for (const listener of this.#listeners) listener(certificate);
    this.#answer(certificate.uri, certificate);
  }

  /** There is none (any more), and why. Those who wait hear it at once. */
  drop(uri: string, detail: string): void {
    this.#held.delete(uri);
    this.#answer(uri, new TunnelError({ code: "tunnel.no-certificate", detail }));
  }

  /** A fetch failed; what is held stays. */
  fail(uri: string, detail: string): void {
    this.#answer(uri, new TunnelError({ code: "tunnel.no-certificate", detail }));
  }

  /** The one in hand, if it is still valid. */
  current(uri: string): WorkerCertificate | undefined {
    const certificate = this.#held.get(uri);
    return certificate !== undefined && certificate.tls.notAfter > this.#options.clock.wallMs()
      ? certificate
      : undefined;
  }

  /** The one in hand, or the next one if it comes within `deadlineMs`. */
  wait(identity: Identity, deadlineMs: number): Promise<WorkerCertificate | TunnelError> {
    const uri = formatIdentity(identity);
    const certificate = this.current(uri);
    if (certificate !== undefined) return Promise.resolve(certificate);
    return new Promise((resolve) => {
      const waiters = this.#waiting.get(uri) ?? new Set();
      this.#waiting.set(uri, waiters);
      if (waiters.size === 0) this.#options.onWanted(identity);
      const cancel = this.#options.clock.after(deadlineMs, () =>
        settle(new TunnelError({ code: "tunnel.no-certificate", detail: `none after ${deadlineMs} ms` })),
      );
      const settle: Waiter = (result) => {
        cancel();
        waiters.delete(settle);
        resolve(result);
      };
      waiters.add(settle);
    });
  }

  /** Calls `listener` with every certificate that comes; the returned function ends that. */
  onChange(listener: (certificate: WorkerCertificate) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #answer(uri: string, result: WorkerCertificate | TunnelError): void {
    for (const waiter of [...(this.#waiting.get(uri) ?? [])]) waiter(result);
    this.#waiting.delete(uri);
  }
}
