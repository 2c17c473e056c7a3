/** TLS by the machine of core/tls. */
import { X509Certificate } from "node:crypto";
import { TlsContext, type TlsSettings } from "../../core/tls/context.ts";
import type { OpenSsl } from "../../core/tls/openssl.ts";
import { TlsError } from "../../core/tls/tls-error.ts";
import { certificatesIn } from "../../core/tls/verified-chains.ts";
import type { Transport } from "./engine.ts";
import { mostCertificates, presentedAs, type Presented } from "./peer-chain.ts";
import type {
  AcceptedSocket,
  ClientTls,
  ClientTlsOwner,
  Handshaking,
  Secured,
  ServerTls,
  ServerTlsOwner,
} from "./tls-engine.ts";
import { TlsMachineLink } from "./tls-machine-link.ts";
import { alpn, type TlsIdentity } from "./tls.ts";
import { policyOptions, tlsPolicy } from "./tls-policy.ts";

/** Throws a TlsError where OpenSSL does not take the identity. */
export class OpensslClientTls implements ClientTls {
  readonly #context: TlsContext;

  constructor(openssl: OpenSsl, identity: TlsIdentity) {
    this.#context = contextOf(openssl, "client", identity);
    forgotten.register(this, this.#context);
  }

  begin(socket: Transport, owner: ClientTlsOwner): Handshaking {
    return new TlsMachineLink(this.#context, socket, {
      secured: (link) => {
        const refusal = owner.judge(presentedOn(link));
        if (refusal === undefined) owner.secured(securedBy(link));
        else owner.failed(refusal);
      },
      failed: (error) => owner.failed(error),
    });
  }
}

export class OpensslServerTls implements ServerTls {
  readonly #openssl: OpenSsl;
  #context: TlsContext | undefined;

  constructor(openssl: OpenSsl) {
    this.#openssl = openssl;
  }

  useIdentity(identity: TlsIdentity): void {
    const before = this.#context;
    this.#context = contextOf(this.#openssl, "server", identity);
    before?.release();
  }

  accept(socket: AcceptedSocket, owner: ServerTlsOwner): void {
    if (this.#context === undefined) return void socket.destroy();
    const link = new TlsMachineLink(this.#context, socket, {
      secured: (secured) => {
        // A chain that does not lead to our roots has ended the handshake.
        owner.secured({ presented: presentedOn(secured), distrust: undefined }, securedBy(secured));
      },
      failed: (error) => owner.failed(error, link),
    });
  }

  close(): void {
    this.#context?.release();
    this.#context = undefined;
  }
}

function contextOf(openssl: OpenSsl, role: TlsSettings["role"], identity: TlsIdentity): TlsContext {
  const { chain, key, roots, policy = tlsPolicy } = identity;
  const { minVersion, maxVersion, ciphers, ecdhCurve: groups, secureOptions: options } = policyOptions(policy);
  const settings = { role, chain, key, roots, minVersion, maxVersion, ciphers, groups, options, protocols: alpn };
  const context = TlsContext.create(openssl, settings);
  if (context instanceof TlsError) throw context;
  return context;
}

function presentedOn({ machine }: TlsMachineLink): Presented {
  const token = machine.peerChain;
  if (token !== undefined) {
    return { token, count: token.lengths.length, certificates: () => certificatesOf(certificatesIn(token)) };
  }
  return presentedAs(certificatesOf(machine.peerCertificates()));
}

/** Who shows more is refused for their number: not all of them need be read. */
function certificatesOf(chain: readonly Buffer[]): X509Certificate[] {
  return chain.slice(0, mostCertificates + 1).map((der) => new X509Certificate(der));
}

function securedBy(link: TlsMachineLink): Secured {
  const { machine } = link;
  return {
    protocol: machine.protocol,
    isResumed: machine.isResumed,
    by: { kind: "openssl", link },
    onClosed: (listener) => link.onClosed(listener),
    destroy: () => link.destroy(),
  };
}

/** An identity's next certificate takes its place; whoever is about to begin a handshake with this one still may. */
const forgotten = new FinalizationRegistry<TlsContext>((context) => context.release());
