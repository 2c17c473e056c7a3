/**
 * Whether Node's handles do here what bare sockets rely on: connections to ourselves, over loopback, that carry more than the kernel takes
 * at once, half-close, are reset and are refused. What another Node does otherwise shows at the start, and not in somebody's connection.
 */
import { once } from "node:events";
import { createServer, type AddressInfo, type Server } from "node:net";
import { messageOf } from "../base/errors.ts";
import { BareSocket, canBeBare, type BareSocketListener } from "./bare-socket.ts";
import { LinuxError } from "./errno.ts";
import { connectBare } from "./sockets.ts";
import { acceptHandles } from "./tcp-handle.ts";

/** @returns what is wrong. */
export async function bareSocketFault(): Promise<string | undefined> {
  if (!canBeBare()) return "no handles";
  const server = createServer();
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error("it takes too long")), deadlineMs);
  try {
    await Promise.race([tryAll(server), late.promise]);
    return undefined;
  } catch (thrown) {
    return messageOf(thrown);
  } finally {
    clearTimeout(timer);
    late.promise.catch(() => {});
    server.close();
  }
}

async function tryAll(server: Server): Promise<void> {
  const accepted: ((socket: BareSocket) => void)[] = [];
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const remote = { address: "127.0.0.1", port };
  if (!acceptHandles(server, (handle) => accepted.shift()?.(new BareSocket(handle)))) throw new Error("none accepted");
  const pair = async (): Promise<readonly [Tried, Tried]> => {
    const theirs = new Promise<BareSocket>((resolve) => accepted.push(resolve));
    const ours = await connected(remote);
    return [new Tried(ours), new Tried(await theirs)];
  };
  const [near, far] = await pair();
  check(near.socket.local?.port === far.socket.remote?.port && far.socket.local?.port === port, "other ends");
  await carry(near, far);
  far.socket.write(pattern.subarray(0, 9));
  near.socket.resume();
  await near.hasRead(9);
  near.socket.end();
  await far.hears("ended");
  far.socket.end();
  await Promise.all([near.hears("closed"), far.hears("closed")]);
  const [cutting, cut] = await pair();
  cut.socket.resume();
  cutting.socket.reset();
  await Promise.all([cutting.hears("closed"), cut.hears("closed")]);
  check(cut.error === "ECONNRESET" && cutting.error === undefined, "a reset that is none");
  server.close();
  const refused = await connected(remote).catch((error: unknown) => error);
  check(refused instanceof LinuxError && refused.errno === "ECONNREFUSED", "no refusal");
}

/** As much as the kernel takes while nobody reads, and some more; then all of that is read. */
async function carry(from: Tried, to: Tried): Promise<void> {
  let sent = 0;
  let more = 8;
  while (more > 0) {
    check(!from.socket.write(pattern), "no back-pressure");
    if (from.socket.writableLength > 0) more -= 1;
    sent += pattern.length;
    check(sent < 64 << 20, "writes that are over too soon");
  }
  to.socket.resume();
  await from.hears("drained");
  await to.hasRead(sent);
}

function connected(remote: { readonly address: string; readonly port: number }): Promise<BareSocket> {
  return new Promise((resolve, reject) => {
    const socket = connectBare({ remote }, (error) => {
      if (error === undefined) resolve(socket as BareSocket);
      else reject(error);
    });
    if (socket instanceof LinuxError) reject(socket);
  });
}

type Word = "ended" | "drained" | "closed";

class Tried implements BareSocketListener {
  readonly socket: BareSocket;
  error: string | undefined;
  #octets = 0;
  #isSpoilt = false;
  readonly #told = new Set<Word | number>();
  #heard: (() => void) | undefined;

  constructor(socket: BareSocket) {
    this.socket = socket;
    socket.listener = this;
  }

  async hears(word: Word): Promise<void> {
    while (!this.#told.has(word)) await new Promise<void>((resolve) => (this.#heard = resolve));
  }

  /** Over and over the same. */
  async hasRead(octets: number): Promise<void> {
    while (this.#octets < octets) await new Promise<void>((resolve) => (this.#heard = resolve));
    check(this.#octets === octets && !this.#isSpoilt, "other octets");
  }

  read(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) {
      const at = (this.#octets + done) % pattern.length;
      const expected = pattern.subarray(at, at + bytes.length - done);
      this.#isSpoilt ||= !expected.equals(bytes.subarray(done, done + expected.length));
      done += expected.length;
    }
    this.#octets += bytes.length;
    this.#heard?.();
  }
  ended(): void {
    this.#tell("ended");
  }
  drained(): void {
    this.#tell("drained");
  }
  failed(error: LinuxError): void {
    this.error = error.errno;
  }
  closed(): void {
    this.#tell("closed");
  }

  #tell(word: Word): void {
    this.#told.add(word);
    this.#heard?.();
  }
}

function check(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise);
}

/** As much as makes a write say that it is enough. No part of it is like another. */
const pattern = Buffer.from(Array.from({ length: 64 << 10 }, (_, at) => at ^ (at >> 8)));
const deadlineMs = 2_000;
