/** Machines of core/tls for tests: with each other, and with TLSSocket as their peer, over wires that cut octets as told. */
import { Duplex } from "node:stream";
import { connect, TLSSocket, type ConnectionOptions, type TLSSocketOptions } from "node:tls";
import { policyOptions, tlsPolicy } from "../../agent/tunnel/tls-policy.ts";
import { secureContext, secureOptions, type TlsIdentity } from "../../agent/tunnel/tls.ts";
import { TlsContext, type TlsSettings } from "../../core/tls/context.ts";
import { TlsMachine, type TlsOwner } from "../../core/tls/machine.ts";
import { loadOpenSsl, type OpenSsl } from "../../core/tls/openssl.ts";
import { TlsError } from "../../core/tls/tls-error.ts";
import { identityOf, testIdentity, testRoot } from "./identities.ts";

export const root = testRoot();
export const alice = testIdentity(root, identityOf("alice"));
export const bob = testIdentity(root, identityOf("bob"));

/** How many octets the next piece has. */
export type Cut = () => number;
export const uncut: Cut = () => Infinity;
export const each =
  (octets: number): Cut =>
  (): number =>
    octets;

export function openssl(): OpenSsl {
  const loaded = loadOpenSsl();
  if (loaded instanceof TlsError) throw loaded;
  return loaded;
}

export function settingsOf(
  role: TlsSettings["role"],
  { chain, key, roots, policy = tlsPolicy }: TlsIdentity,
): TlsSettings {
  const { ciphers = "", ecdhCurve: groups, secureOptions: options = 0 } = policyOptions(policy);
  const versions = { minVersion: policy.oldest, maxVersion: "TLSv1.3" } as const;
  return { role, chain, key, roots, ...versions, ciphers, groups, options, protocols: ["h2"] };
}

export function contextOf(
  role: TlsSettings["role"],
  identity: TlsIdentity,
  change: Partial<TlsSettings> = {},
): TlsContext {
  const made = TlsContext.create(openssl(), { ...settingsOf(role, identity), ...change });
  if (made instanceof TlsError) throw made;
  return made;
}

/** What a machine says to its owner, written down. */
export class Heard implements TlsOwner {
  readonly machine: TlsMachine;
  /** Copies: nothing is kept. */
  readonly sent: Buffer[] = [];
  readonly events: ("secured" | "ended" | "failed")[] = [];
  plaintext: Buffer[] = [];
  octets = 0;
  records = 0;
  error: TlsError | undefined;
  /** Instead of `sent`. */
  onSend: ((ciphertext: Buffer) => void) | undefined;
  onSecured: (() => void) | undefined;
  onReceived: (() => void) | undefined;

  constructor(context: TlsContext) {
    this.machine = new TlsMachine(context, this);
  }

  send(ciphertext: Buffer): boolean {
    const copy = Buffer.from(ciphertext);
    if (this.onSend === undefined) this.sent.push(copy);
    else this.onSend(copy);
    return false;
  }

  secured(): void {
    this.events.push("secured");
    this.onSecured?.();
  }

  received(plaintext: Buffer, records: number): boolean {
    this.plaintext.push(Buffer.from(plaintext));
    this.octets += plaintext.length;
    this.records += records;
    this.onReceived?.();
    return false;
  }

  ended(): void {
    this.events.push("ended");
  }

  failed(error: TlsError): void {
    this.events.push("failed");
    this.error = error;
  }

  /** All plaintext so far. */
  text(): string {
    return Buffer.concat(this.plaintext).toString("latin1");
  }
}

/** Carries what two have to say to each other, until they have nothing more to say. */
export function exchange(one: Heard, other: Heard, cut: Cut = uncut): void {
  one.machine.start();
  other.machine.start();
  while (one.sent.length > 0 || other.sent.length > 0) {
    hand(one, other, cut);
    hand(other, one, cut);
  }
}

/** Two that have shaken hands. */
export function securedPair(client: TlsContext, server: TlsContext, cut: Cut = uncut): [Heard, Heard] {
  const pair: [Heard, Heard] = [new Heard(client), new Heard(server)];
  exchange(...pair, cut);
  for (const { machine, error } of pair) if (machine.phase !== "secured") throw error ?? new Error(machine.phase);
  return pair;
}

/** A machine's TLSSocket at the other end. `started` with its hello if it is a client. */
export interface NodePeer {
  readonly heard: Heard;
  readonly socket: TLSSocket;
  /** What comes out of the socket. */
  readonly octets: Buffer[];
  readonly errors: (Error & { code?: string; reason?: string })[];
  readonly isSecure: () => boolean;
  readonly hasEnded: () => boolean;
}

/** @param change of the socket's TLS. The socket checks the machine's chain, but not whose it is. */
export function withNodeServer(
  client: TlsContext,
  identity: TlsIdentity = bob,
  change: TLSSocketOptions = {},
  cut: Cut = uncut,
): NodePeer {
  const heard = new Heard(client);
  const socket = new TLSSocket(new Wire(heard, cut), {
    isServer: true,
    secureContext: secureContext(identity),
    requestCert: true,
    rejectUnauthorized: false,
    ALPNProtocols: ["h2"],
    ...change,
  });
  return peerOf(heard, socket, "secure");
}

export function withNodeClient(
  server: TlsContext,
  identity: TlsIdentity = alice,
  change: ConnectionOptions = {},
  cut: Cut = uncut,
): NodePeer {
  const heard = new Heard(server);
  const socket = connect({
    ...secureOptions(identity),
    socket: new Wire(heard, cut),
    servername: "",
    ALPNProtocols: ["h2"],
    checkServerIdentity: () => undefined,
    ...change,
  });
  return peerOf(heard, socket, "secureConnect");
}

function peerOf(heard: Heard, socket: TLSSocket, event: string): NodePeer {
  const octets: Buffer[] = [];
  const errors: Error[] = [];
  let isSecure = false;
  let hasEnded = false;
  socket.once(event, () => (isSecure = true));
  socket.on("data", (chunk: Buffer) => octets.push(chunk));
  socket.on("end", () => (hasEnded = true));
  socket.on("error", (error: Error) => errors.push(error));
  heard.machine.start();
  return { heard, socket, octets, errors, isSecure: () => isSecure, hasEnded: () => hasEnded };
}

/** The transport between a machine and a socket of Node's. */
class Wire extends Duplex {
  readonly #heard: Heard;
  readonly #cut: Cut;

  constructor(heard: Heard, cut: Cut) {
    super({ allowHalfOpen: true });
    this.#heard = heard;
    this.#cut = cut;
    heard.onSend = (ciphertext) => this.push(ciphertext);
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    feed(this.#heard.machine, chunk, this.#cut);
    done();
  }

  override _final(done: () => void): void {
    this.#heard.machine.receiveEnd();
    done();
  }
}

function hand(from: Heard, to: Heard, cut: Cut): void {
  const octets = Buffer.concat(from.sent);
  from.sent.length = 0;
  feed(to.machine, octets, cut);
}

export function feed(machine: TlsMachine, octets: Buffer, cut: Cut): void {
  for (let at = 0; at < octets.length;) {
    const end = Math.min(octets.length, at + Math.max(1, cut()));
    // In memory of its own, which is then worth nothing: whoever kept it would see.
    const piece = Buffer.from(octets.subarray(at, end));
    machine.receive(piece);
    piece.fill(0xee);
    at = end;
  }
}
