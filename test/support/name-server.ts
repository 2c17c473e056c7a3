/** A name server on UDP that answers from a table and counts what it is asked: one question per message, no EDNS. */
import { createSocket, type Socket } from "node:dgram";
import { parseIp } from "../../core/base/ip.ts";

/** What a name stands for: addresses of both families, an error, or nothing at all. */
export type Entry =
  { readonly addresses: readonly string[]; readonly ttl: number } | "no-such-name" | "server-failure" | "silence";

export class NameServer {
  /** By name in lower case, without the dot at its end. Names that are missing do not exist. */
  readonly entries = new Map<string, Entry>();
  /** `name A` or `name AAAA`, in the order of asking. */
  readonly asked: string[] = [];
  readonly #socket: Socket;
  #held: (() => void)[] | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("message", (message, { address, port }) => {
      const { name, type, end } = readQuestion(message);
      this.asked.push(`${name} ${type === typeA ? "A" : "AAAA"}`);
      const entry = this.entries.get(name) ?? "no-such-name";
      if (entry === "silence") return;
      const send = (): void => socket.send(answer(message.subarray(0, end), type, entry), port, address);
      if (this.#held) this.#held.push(send);
      else send();
    });
  }

  static async start(): Promise<NameServer> {
    const socket = createSocket("udp4");
    await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
    return new NameServer(socket);
  }

  /** As node:dns wants it. */
  get address(): string {
    return `127.0.0.1:${this.#socket.address().port}`;
  }

  /** Keeps answers back until released. */
  hold(): void {
    this.#held = [];
  }

  release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const send of held) send();
  }

  close(): void {
    this.#socket.close();
  }
}

function readQuestion(message: Buffer): { name: string; type: number; end: number } {
  const labels: string[] = [];
  let at = headerBytes;
  for (let length = message[at] ?? 0; length > 0; length = message[at] ?? 0) {
    labels.push(message.toString("latin1", at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join(".").toLowerCase(), type: message.readUInt16BE(at + 1), end: at + 5 };
}

function answer(question: Buffer, type: number, entry: Exclude<Entry, "silence">): Buffer {
  const bytes = type === typeA ? 4 : 16;
  const records =
    typeof entry === "string"
      ? []
      : entry.addresses.flatMap((text) => {
          const address = parseIp(text);
          if (address?.length !== bytes) return [];
          const record = Buffer.alloc(12);
          record.writeUInt16BE(0xc000 + headerBytes, 0);
          record.writeUInt16BE(type, 2);
          record.writeUInt16BE(1, 4);
          record.writeUInt32BE(entry.ttl, 6);
          record.writeUInt16BE(bytes, 10);
          return [Buffer.concat([record, address])];
        });
  const message = Buffer.from(question);
  message.writeUInt16BE(0x8180 + (entry === "no-such-name" ? 3 : entry === "server-failure" ? 2 : 0), 2);
  message.writeUInt16BE(1, 4);
  message.writeUInt16BE(records.length, 6);
  message.writeUInt32BE(0, 8);
  return Buffer.concat([message, ...records]);
}

const headerBytes = 12;
const typeA = 1;
