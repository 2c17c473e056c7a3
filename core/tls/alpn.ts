/**
 * Which protocol is spoken within TLS (RFC 7301). A client's offer is data; to choose from it OpenSSL's server calls a function, of which
 * there is one a thread, and which leaves the choice to OpenSSL again.
 */
import { addressOf, registerChooser, type Address, type Bindings, type SslCtx } from "./bindings.ts";
import { ALPN_CHOSEN, ALPN_FATAL, PROTOCOL_IN_COMMON } from "./constants.ts";

export class Alpn {
  readonly #openssl: Bindings;
  /** By what the list says. There are few, and a handshake may outlive the context that brought its list: they stay. */
  readonly #lists = new Map<string, ProtocolList>();
  readonly #byNumber: ProtocolList[] = [];
  #chooser: bigint | undefined;

  constructor(openssl: Bindings) {
    this.#openssl = openssl;
  }

  /** A client offers these, most wanted first. @returns whether OpenSSL takes it. */
  offer(ctx: SslCtx, protocols: readonly string[]): boolean {
    const { wire } = this.#list(protocols);
    return this.#openssl.ctxOffer(ctx, wire, wire.length) === 0;
  }

  /** A server takes the first of these that a client offers. Where it offers others only, the handshake ends with an alert. */
  choose(ctx: SslCtx, protocols: readonly string[]): void {
    this.#chooser ??= registerChooser((_ssl, chosen, length, offered, octets, number) =>
      this.#choose(chosen, length, offered, octets, number),
    );
    this.#openssl.ctxChoose(ctx, this.#chooser, this.#list(protocols).number);
  }

  /** Called from within a handshake: nothing may be thrown here. */
  #choose(chosen: number, length: number, offered: number, octets: number, number: number): number {
    const ours = this.#byNumber[number];
    if (ours === undefined) return ALPN_FATAL;
    const found = this.#openssl.chooseProtocol(chosen, length, ours.at, ours.wire.length, offered, octets);
    return found === PROTOCOL_IN_COMMON ? ALPN_CHOSEN : ALPN_FATAL;
  }

  #list(protocols: readonly string[]): ProtocolList {
    const key = protocols.join(",");
    const known = this.#lists.get(key);
    if (known !== undefined) return known;
    const names = protocols.map((name) => Buffer.from(name, "latin1"));
    const wire = Buffer.allocUnsafeSlow(names.reduce((sum, name) => sum + 1 + name.length, 0));
    let at = 0;
    for (const name of names) {
      wire[at] = name.length;
      wire.set(name, at + 1);
      at += 1 + name.length;
    }
    const list = { wire, at: addressOf(wire.buffer), number: this.#byNumber.length };
    this.#lists.set(key, list);
    this.#byNumber.push(list);
    return list;
  }
}

interface ProtocolList {
  /** Each behind an octet that says how long it is. OpenSSL points into it for as long as a connection lives. */
  readonly wire: Buffer<ArrayBuffer>;
  readonly at: Address;
  readonly number: number;
}
