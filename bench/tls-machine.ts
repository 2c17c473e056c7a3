/**
 * TLS of node:tls beside core/tls, in one process over loopback TCP, paired and interleaved: both ends and the kernel count.
 * `node bench/tls-machine.ts [rounds]`: CPU seconds per GB in writes of 64 KiB, CPU for 1 KiB there and back, CPU for a connection and
 * its handshake with contexts made before, and memory per idle end, each as min / median / max. For an idea of what an engine is
 * worth, not for the targets.
 */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { connect, createServer, Socket, type AddressInfo } from "node:net";
import { connect as connectTls, TLSSocket } from "node:tls";
import { secureContext } from "../agent/tunnel/tls.ts";
import type { TlsContext } from "../core/tls/context.ts";
import { TlsMachine, type TlsOwner } from "../core/tls/machine.ts";
import type { TlsError } from "../core/tls/tls-error.ts";
import { alice, bob, contextOf } from "../test/support/tls-machines.ts";

/** One connection whose handshake is over. */
interface Pair {
  /** From client to server. @returns once the server has it all. */
  carry(octets: number): Promise<void>;
  /** So many times 1 KiB there and, once it is there, back. */
  trips(count: number): Promise<void>;
  rest(): void;
  end(): void;
}

type Engine = () => Promise<Pair>;

const piece = Buffer.alloc(64 << 10, "bench");

const message = Buffer.alloc(1 << 10, "bench");
const trips = 20_000;
const bulkOctets = 512 << 20;
const handshakes = 500;
const idle = 1_000;
const readBuffer = Buffer.allocUnsafeSlow(128 << 10);
const mostQueued = 256 << 10;

async function cpuOf(work: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

function collect(): void {
  globalThis.gc?.();
}

/** Two ends of a TCP connection, nothing read yet. */
async function tcpPair(): Promise<[Socket, Socket]> {
  const server = createServer({ pauseOnConnect: true, noDelay: true });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = connect({ port: (server.address() as AddressInfo).port, host: "127.0.0.1", noDelay: true });
  const [[accepted]] = (await Promise.all([once(server, "connection"), once(client, "connect")])) as [
    [Socket],
    unknown,
  ];
  server.close();
  return [client, accepted];
}

/** A socket that reads into one buffer, which is the callback's during the call. */
function reading(socket: Socket, received: (bytes: Buffer) => void): Socket {
  const { _handle: handle } = socket as unknown as { _handle: { reading: boolean; readStop(): void } };
  (socket as unknown as { _handle: null })._handle = null;
  handle.readStop();
  handle.reading = false;
  const onread = {
    // One for all: what is in it is dealt with before anybody else's comes.
    buffer: readBuffer,
    callback: (octets: number, buffer: Buffer) => {
      received(buffer.subarray(0, octets));
      return true;
    },
  };
  return new Socket({ handle, onread } as object);
}

function tlsSocketEngine(): Engine {
  const server = secureContext(bob);
  const client = secureContext(alice);
  return async () => {
    const [near, far] = await tcpPair();
    far.resume();
    const tls = connectTls({
      socket: near,
      secureContext: client,
      servername: "",
      ALPNProtocols: ["h2"],
      checkServerIdentity: () => undefined,
    });
    const accepted = new TLSSocket(far, {
      isServer: true,
      secureContext: server,
      requestCert: true,
      rejectUnauthorized: false,
      ALPNProtocols: ["h2"],
    });
    await Promise.all([once(tls, "secureConnect"), once(accepted, "secure")]);
    let left = 0;
    let done = (): void => {};
    let isEcho = false;
    accepted.on("data", (chunk: Buffer) => {
      if (isEcho) return void accepted.write(chunk);
      left -= chunk.length;
      if (left <= 0) done();
    });
    tls.on("error", () => {});
    accepted.on("error", () => {});
    return {
      carry: (octets) =>
        new Promise((resolve) => {
          let unsent = octets;
          left = octets;
          done = resolve;
          const more = (): void => {
            while (unsent > 0 && tls.writableLength < mostQueued) {
              unsent -= piece.length;
              tls.write(piece);
            }
            if (unsent > 0) tls.once("drain", more);
          };
          more();
        }),
      trips: (count) =>
        new Promise((resolve) => {
          isEcho = true;
          let back = 0;
          tls.on("data", (chunk: Buffer) => {
            back += chunk.length;
            if (back === count * message.length) resolve();
            else if (back % message.length === 0) tls.write(message);
          });
          tls.write(message);
        }),
      rest: () => {},
      end: () => {
        tls.destroy();
        accepted.destroy();
      },
    };
  };
}

function machineEngine(): Engine {
  const server = contextOf("server", bob);
  const client = contextOf("client", alice);
  return async () => {
    const pair = await tcpPair();
    const near = new MachineEnd(pair[0], client);
    const far = new MachineEnd(pair[1], server);
    near.machine.start();
    await Promise.all([near.up, far.up]);
    return {
      carry: (octets) =>
        new Promise((resolve) => {
          let unsent = octets;
          far.expect(octets, resolve);
          const more = (): void => {
            while (unsent > 0 && near.socket.writableLength < mostQueued) {
              unsent -= piece.length;
              near.machine.write([piece]);
            }
            if (unsent > 0) near.socket.once("drain", more);
          };
          more();
        }),
      trips: (count) =>
        new Promise((resolve) => {
          let back = 0;
          far.onReceived = (chunk): void => far.machine.write([chunk]);
          near.onReceived = (chunk): void => {
            back += chunk.length;
            if (back === count * message.length) resolve();
            else if (back % message.length === 0) near.machine.write([message]);
          };
          near.machine.write([message]);
        }),
      rest: () => {
        for (const { machine } of [near, far]) machine.rest();
      },
      end: () => {
        for (const { socket, machine } of [near, far]) {
          machine.free();
          socket.destroy();
        }
      },
    };
  };
}

class MachineEnd implements TlsOwner {
  readonly socket: Socket;
  readonly machine: TlsMachine;
  readonly up: Promise<void>;
  onReceived: ((plaintext: Buffer) => void) | undefined;
  #up = (): void => {};
  #left = 0;
  #done = (): void => {};

  constructor(tcp: Socket, context: TlsContext) {
    this.up = new Promise((resolve) => (this.#up = resolve));
    this.machine = new TlsMachine(context, this);
    this.socket = reading(tcp, (bytes) => this.machine.receive(bytes));
    this.socket.on("error", (error) => this.machine.phase === "freed" || process.stderr.write(String(error)));
    this.socket.resume();
  }

  expect(octets: number, done: () => void): void {
    this.#left = octets;
    this.#done = done;
  }

  send(ciphertext: Buffer): boolean {
    this.socket.write(ciphertext);
    return this.socket.writableLength > 0;
  }

  secured(): void {
    this.#up();
  }

  received(plaintext: Buffer): boolean {
    if (this.onReceived !== undefined) {
      this.onReceived(plaintext);
      return false;
    }
    this.#left -= plaintext.length;
    if (this.#left <= 0) this.#done();
    return false;
  }

  ended(): void {}

  failed(error: TlsError): void {
    throw error;
  }
}

const engines: Record<string, Engine> = { tlsSocket: tlsSocketEngine(), machine: machineEngine() };
/** RSS is measured where nothing else has been: in a process of its own, which answers with a number. */
async function idleOctets(name: string): Promise<number> {
  const engine = engines[name]!;
  for (let count = 0; count < 50; count++) (await engine()).end();
  await new Promise((resolve) => setTimeout(resolve, 100));
  collect();
  const before = process.memoryUsage.rss();
  for (let count = 0; count < idle; count++) pairs.push(await engine());
  // As an owner would once a second.
  for (const pair of [...pairs, ...pairs]) pair.rest();
  collect();
  return (process.memoryUsage.rss() - before) / idle / 2;
}

async function compare(): Promise<void> {
  const figures = new Map<string, number[]>();
  const note = (figure: string, value: number): void =>
    void figures.set(figure, [...(figures.get(figure) ?? []), value]);
  for (let round = 0; round < Number(process.argv[2] ?? 3); round++) {
    for (const [name, engine] of Object.entries(engines)) {
      const pair = await engine();
      await pair.carry(bulkOctets / 8);
      note(`${name}: bulk, CPU-s/GB`, (await cpuOf(() => pair.carry(bulkOctets))) / (bulkOctets / 1e9));
      await pair.trips(trips / 10);
      pair.end();
      const chat = await engine();
      note(`${name}: 1 KiB there and back, CPU-us`, ((await cpuOf(() => chat.trips(trips))) / trips) * 1e6);
      chat.end();
      const shake = async (): Promise<void> => {
        for (let count = 0; count < handshakes; count++) (await engine()).end();
      };
      note(`${name}: connection and handshake, CPU-us`, ((await cpuOf(shake)) / handshakes) * 1e6);
      const alone = spawnSync(process.execPath, ["--expose-gc", import.meta.filename, "--idle", name], {
        encoding: "utf8",
      });
      note(`${name}: idle end, octets of RSS`, Number(alone.stdout));
    }
  }
  for (const [name, values] of figures) {
    values.sort((a, b) => a - b);
    const of = (part: number): string => values[Math.round((values.length - 1) * part)]!.toPrecision(4);
    process.stdout.write(`${name}: ${of(0)} / ${of(0.5)} / ${of(1)}\n`);
  }
}

const pairs: Pair[] = [];
if (process.argv[2] === "--idle") process.stdout.write(String(Math.round(await idleOctets(process.argv[3]!))));
else await compare();
process.exit();
