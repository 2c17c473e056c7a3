import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { ManualClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import { FakeEnd } from "../../test/support/fake-end.ts";
import type { ConnectionFacts } from "../connection/close-record.ts";
import { Counters } from "../metrics/counters.ts";
import { RequestSeries } from "../metrics/request-series.ts";
import type { ByteEnd, EndListener, ResetCause } from "../relay/byte-end.ts";
import { Relay } from "../relay/relay.ts";
import type { Conversation, RequestSink } from "./conversation.ts";
import { Sniffer } from "./sniffer.ts";

suite("listening to a relay", () => {
  test("what is not understood is left to its relay for good, and so is every connection that ends", () => {
    for (const end of [
      (scene: Scene) => scene.says("client", "\x16\x03\x01"),
      (scene: Scene) => scene.says("server", "220 hello\r\n"),
      (scene: Scene) => scene.client.listener.reset(scene.client, { kind: "tcp", errno: "ECONNRESET" }),
      (scene: Scene) => scene.server.listener.closed(scene.server),
    ]) {
      const scene = new Scene();
      assert.notEqual(scene.client.listener, scene.relay);
      end(scene);
      assert.equal(scene.client.listener, scene.relay);
      assert.equal(scene.server.listener, scene.relay);
    }
  });

  test("nobody listens to what goes out", () => {
    const scene = new Scene({ direction: "outbound" });
    assert.equal(scene.client.listener, scene.relay);
  });

  test("bytes have been handed on before anybody looks at them", () => {
    const order: string[] = [];
    const scene = new Scene({
      conversation: () => ({ ...deaf, client: () => order.push("looked") > 0 }),
    });
    scene.server.written = () => order.push("written");
    scene.says("client", "x");
    assert.deepEqual(order, ["written", "looked"]);
  });

  test("a bug in listening, wherever it is, costs the connection nothing, is counted, and said once", () => {
    const bug = (): never => {
      throw new Error("a bug");
    };
    const events: readonly ((scene: Scene) => void)[] = [
      (scene) => scene.says("client", "GET"),
      (scene) => scene.says("server", "HTTP"),
      (scene) => scene.server.listener.ended(scene.server),
      (scene) => scene.client.listener.reset(scene.client, { kind: "memory" }),
      (scene) => scene.server.listener.closed(scene.server),
    ];
    const faulty: Conversation = { client: bug, server: bug, serverEnded: bug, over: bug, held: 0 };
    for (const event of events) {
      const scene = new Scene({ conversation: () => faulty });
      event(scene);
      assert.equal(scene.client.listener, scene.relay);
      assert.deepEqual(scene.failures(), 1);
      scene.says("client", "more");
      assert.equal(scene.failures(), 0);
    }
    const said: unknown[] = [];
    const log = Object.assign(Object.create(silentLog) as typeof silentLog, {
      error: (about: unknown) => said.push(about),
    });
    const scene = new Scene({ conversation: () => faulty, log });
    scene.says("client", "GET");
    const second = scene.another();
    second.client.listener.data(second.client, Buffer.from("GET"));
    assert.equal(second.client.listener, second.relay);
    assert.equal(scene.failures(), 2);
    assert.equal(said.length, 1);
  });

  test("whatever passes, in whatever order, the relay hears it all as if nobody listened", () => {
    const text = fc.constantFrom(
      "GET / HTTP/1.1\r\n\r\n",
      "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
      "HTTP/1.1 200 OK\r\n\r\n",
      "PRI * HT",
      "x",
      "\0\0\0\x04\0\0\0\0\0",
    );
    const side = fc.constantFrom("client" as const, "server" as const);
    const event: fc.Arbitrary<Event> = fc.oneof(
      { weight: 6, arbitrary: fc.tuple(fc.constant("data" as const), side, text) },
      fc.tuple(
        fc.constantFrom("ended" as const, "drained" as const, "reset" as const, "closed" as const),
        side,
        fc.constant(""),
      ),
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 20 }), (events) => {
        const heard = [true, false].map((isSniffed) => {
          const [client, server] = [new NamedEnd("client"), new NamedEnd("server")];
          const recorder = new Recorder();
          client.listener = server.listener = recorder;
          if (isSniffed) sniffer().watch(facts("inbound"), client, server);
          for (const [kind, by, what] of events) {
            const end = by === "client" ? client : server;
            if (kind === "data") end.listener.data(end, Buffer.from(what));
            else if (kind === "reset") end.listener.reset(end, { kind: "stream", code: what.length });
            else end.listener[kind](end);
          }
          return recorder.heard;
        });
        assert.deepEqual(heard[0], heard[1]);
      }),
      { numRuns: 500 },
    );
  });

  test("a stream's reset that says that all was said is not the end of the answer", () => {
    const scene = new Scene();
    scene.says("client", "GET / HTTP/1.1\r\n\r\n");
    scene.client.listener.ended(scene.client);
    scene.client.listener.reset(scene.client, { kind: "stream", code: 0 });
    scene.says("server", "HTTP/1.1 404 Not\r\ncontent-length: 0\r\n\r\n");
    scene.server.listener.closed(scene.server);
    assert.deepEqual(scene.codes(), ["404"]);
  });
});

type Event = readonly ["data" | "ended" | "drained" | "reset" | "closed", "client" | "server", string];

class Scene {
  readonly client = new NamedEnd("client");
  readonly server = new NamedEnd("server");
  readonly relay: Relay;
  readonly #counters = new Counters();
  readonly #requests = new RequestSeries();
  readonly #sniffer: Sniffer;

  constructor(
    options: {
      direction?: ConnectionFacts["direction"];
      conversation?: (sink: RequestSink) => Conversation;
      log?: typeof silentLog;
    } = {},
  ) {
    this.#sniffer = sniffer({ ...options, counters: this.#counters, requests: this.#requests });
    this.relay = new Relay(this.client, this.server, { relayEnded() {} });
    this.#sniffer.watch(facts(options.direction ?? "inbound"), this.client, this.server);
  }

  says(by: "client" | "server", text: string): void {
    this[by].listener.data(this[by], Buffer.from(text, "latin1"));
  }

  /** Another connection, heard by the same sniffer. */
  another(): { readonly client: ByteEnd; readonly relay: Relay } {
    const [client, server] = [new NamedEnd("client"), new NamedEnd("server")];
    const relay = new Relay(client, server, { relayEnded() {} });
    this.#sniffer.watch(facts("inbound"), client, server);
    return { client, relay };
  }

  /** Since this was last asked. */
  failures(): number {
    return this.#counters.take().counters.find(({ name }) => name === "ambientd_sniffing_failures")?.value ?? 0;
  }

  codes(): (string | undefined)[] {
    return [...this.#requests.take()].flat().map(({ labels }) => labels[21]);
  }
}

function sniffer(modules: Partial<ConstructorParameters<typeof Sniffer>[0]> = {}): Sniffer {
  return new Sniffer({
    clock: new ManualClock(),
    log: silentLog,
    counters: new Counters(),
    requests: new RequestSeries(),
    ...modules,
  });
}

function facts(direction: ConnectionFacts["direction"]): ConnectionFacts {
  return { direction, protocol: "hbone", trace: "", source: { address: "10.0.0.9", port: 1 } };
}

class NamedEnd extends FakeEnd {
  readonly name: string;
  written: () => void = () => {};

  constructor(name: string) {
    super();
    this.name = name;
  }

  override write(): boolean {
    this.written();
    return true;
  }
}

class Recorder implements EndListener {
  readonly heard: string[] = [];

  data(from: ByteEnd, chunk: Uint8Array): void {
    this.#hear("data", from, Buffer.from(chunk).toString("latin1"));
  }

  ended(from: ByteEnd): void {
    this.#hear("ended", from);
  }

  drained(from: ByteEnd): void {
    this.#hear("drained", from);
  }

  reset(from: ByteEnd, cause: ResetCause): void {
    this.#hear("reset", from, cause.kind);
  }

  closed(from: ByteEnd): void {
    this.#hear("closed", from);
  }

  #hear(what: string, from: ByteEnd, more = ""): void {
    this.heard.push(`${what} ${(from as NamedEnd).name} ${more}`);
  }
}

const deaf: Conversation = { client: () => true, server: () => true, serverEnded() {}, over() {}, held: 0 };
