import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { newAgentSession, receive, type AgentSession } from "./agent-session.ts";
import { answerWithinMs, DaemonSession } from "./daemon-session.ts";
import {
  decodeHello,
  decodeRequest,
  decodeResponse,
  encodeRequest,
  encodeResponse,
  hello,
  packetLimit,
  ZdsError,
  type ZdsRequest,
} from "./messages.ts";

const hex = (bytes: Uint8Array | ZdsError): string => {
  if (bytes instanceof ZdsError) throw bytes;
  return Buffer.from(bytes).toString("hex");
};
const info = { name: "p", namespace: "n", serviceAccount: "s" };
const add = (uid: string): ZdsRequest & { kind: "add" } => ({ kind: "add", uid, info });

function codeOf(value: object | undefined): string {
  return value instanceof ZdsError ? value.type.code : "no error";
}

suite("ZDS packets", () => {
  const golden: [string, ZdsRequest, string][] = [
    ["add", add("a"), "0a0e0a016112090a01701201 6e1a0173".replace(" ", "")],
    ["keep", { kind: "keep", uid: "a" }, "2a030a0161"],
    ["del", { kind: "del", uid: "a" }, "1203120161"],
    ["snapshot-sent", { kind: "snapshot-sent" }, "1a00"],
  ];
  for (const [name, request, bytes] of golden) {
    test(`${name} has the octets of the contract`, () => {
      assert.equal(hex(encodeRequest(request)), bytes);
      assert.deepEqual(decodeRequest(Buffer.from(bytes, "hex"), name === "add" ? 1 : 0), request);
    });
  }

  test("F-150 hello and acks have the octets of the contract", () => {
    assert.equal(hex(hello()), "0801");
    assert.equal(decodeHello(Buffer.from("0801", "hex")), "v1");
    assert.equal(hex(encodeResponse({})), "0a00");
    assert.equal(hex(encodeResponse({ error: "x" })), "0a030a0178");
    assert.deepEqual(decodeResponse(Buffer.from("0a00", "hex")), {});
    assert.deepEqual(decodeResponse(Buffer.from("0a030a0178", "hex")), { error: "x" });
  });

  test("of another version, empty or torn are refused", () => {
    assert.equal(codeOf(decodeHello(Buffer.from("0802", "hex")) as ZdsError), "zds.version");
    assert.equal(codeOf(decodeHello(new Uint8Array()) as ZdsError), "zds.version");
    assert.equal(codeOf(decodeRequest(new Uint8Array(), 0)), "zds.missing");
    assert.equal(codeOf(decodeResponse(new Uint8Array())), "zds.missing");
    assert.equal(codeOf(decodeRequest(Buffer.from("0a0e0a01", "hex"), 1)), "zds.undecodable");
  });

  test("F-151 that add a pod carry its description and exactly one descriptor; others carry none", () => {
    assert.equal(codeOf(decodeRequest(Buffer.from("0a030a0161", "hex"), 1)), "zds.missing");
    const bytes = Buffer.from(hex(encodeRequest(add("a"))), "hex");
    for (const descriptors of [0, 2, 253]) {
      assert.equal(codeOf(decodeRequest(bytes, descriptors)), "zds.descriptor-count");
    }
    assert.equal(codeOf(decodeRequest(Buffer.from("1a00", "hex"), 1)), "zds.descriptor-count");
  });

  test("fit the buffer of the other side: an error text is cut, a request too long is refused", () => {
    const response = encodeResponse({ error: "\u20ac".repeat(2000) });
    assert.ok(response.length <= packetLimit);
    const read = decodeResponse(response);
    assert.ok(!(read instanceof ZdsError));
    assert.match(read.error ?? "", /^\u20ac{300,}$/);
    assert.equal(
      codeOf(encodeRequest({ ...add("a"), info: { ...info, name: "x".repeat(2000) } })),
      "zds.packet-too-long",
    );
  });

  test("written and read again are the same", () => {
    const text = fc.string({ minLength: 1, maxLength: 40, unit: "grapheme" });
    const request = fc.oneof(
      fc.record({
        kind: fc.constant("add" as const),
        uid: text,
        info: fc.record({ name: text, namespace: text, serviceAccount: text }, { noNullPrototype: true }),
      }),
      fc.record({ kind: fc.constantFrom("keep" as const, "del" as const), uid: text }),
      fc.record({ kind: fc.constant("snapshot-sent" as const) }),
    );
    fc.assert(
      fc.property(request, (one) => {
        const bytes = encodeRequest(one);
        if (bytes instanceof ZdsError) return;
        assert.deepEqual(decodeRequest(bytes, one.kind === "add" ? 1 : 0), { ...one });
      }),
    );
  });

  test("of any octets whatever never make a reader throw", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: packetLimit }), fc.nat(3), (bytes, descriptors) => {
        decodeHello(bytes);
        decodeRequest(bytes, descriptors);
        decodeResponse(bytes);
      }),
      { numRuns: 1000 },
    );
  });
});

suite("the agent's session", () => {
  function run(requests: readonly ZdsRequest[]): { session: AgentSession; last: unknown } {
    let session = newAgentSession;
    let last: unknown;
    for (const request of requests) {
      const next = receive(session, request, 5);
      if (next instanceof ZdsError) return { session, last: next.type };
      ({ session } = next);
      last = next.task;
    }
    return { session, last };
  }

  test("F-154 stops at the snapshot's end what was neither added nor kept since the connection began", () => {
    const { session, last } = run([
      add("a"),
      { kind: "keep", uid: "b" },
      add("c"),
      { kind: "del", uid: "c" },
      { kind: "snapshot-sent" },
    ]);
    assert.deepEqual(last, { kind: "stop-others", named: new Set(["a", "b"]) });
    assert.deepEqual(session, { phase: "live", sinceMs: 5 });
  });

  test("F-157 refuses a second snapshot and a keep after the first", () => {
    assert.deepEqual(run([{ kind: "snapshot-sent" }, { kind: "snapshot-sent" }]).last, { code: "zds.second-snapshot" });
    assert.deepEqual(run([{ kind: "snapshot-sent" }, { kind: "keep", uid: "a" }]).last, {
      code: "zds.keep-after-snapshot",
      uid: "a",
    });
  });

  test("serves and stops pods one by one after it", () => {
    const live: ZdsRequest[] = [{ kind: "snapshot-sent" }];
    assert.deepEqual(run([...live, add("a")]).last, { kind: "serve", uid: "a", info });
    assert.deepEqual(run([...live, { kind: "del", uid: "a" }]).last, { kind: "stop", uid: "a" });
  });
});

suite("the daemon's session", () => {
  function greeted(pods: readonly (ZdsRequest & { kind: "add" | "keep" })[]): DaemonSession {
    const session = new DaemonSession(0);
    assert.equal(session.poll(0), undefined, "nothing is said before the agent's hello");
    assert.deepEqual(session.receive(hello(), 0), { kind: "hello" });
    session.begin(pods);
    return session;
  }

  function ask(session: DaemonSession, nowMs = 0): ZdsRequest | undefined {
    const outgoing = session.poll(nowMs);
    if (outgoing instanceof ZdsError) throw outgoing;
    return outgoing?.request;
  }

  test("tells every pod, then that this was all, one at a time", () => {
    const session = greeted([add("a"), { kind: "keep", uid: "b" }]);
    assert.deepEqual(ask(session), add("a"));
    assert.equal(ask(session), undefined, "the answer is awaited");
    assert.deepEqual(session.receive(encodeResponse({}), 0), { kind: "answer", request: add("a") });
    assert.deepEqual(ask(session), { kind: "keep", uid: "b" });
    assert.deepEqual(session.receive(encodeResponse({ error: "not served" }), 0), {
      kind: "answer",
      request: { kind: "keep", uid: "b" },
      error: "not served",
    });
    assert.deepEqual(ask(session), { kind: "snapshot-sent" });
    assert.equal(session.live, false);
    session.receive(encodeResponse({}), 0);
    assert.equal(session.live, true);
    assert.equal(ask(session), undefined);
  });

  test("drops what waits about a pod when there is newer word of it", () => {
    const session = greeted([add("a"), add("b")]);
    session.submit({ kind: "del", uid: "b" });
    const told: unknown[] = [];
    for (let request = ask(session); request !== undefined; request = ask(session)) {
      told.push(request.kind === "snapshot-sent" ? request.kind : `${request.kind} ${request.uid}`);
      session.receive(encodeResponse({}), 0);
    }
    assert.deepEqual(told, ["add a", "snapshot-sent", "del b"]);
  });

  test("ends when hello or an answer is late, and then believes nothing more", () => {
    const silent = new DaemonSession(100);
    assert.equal(silent.deadlineMs, 100 + answerWithinMs);
    assert.equal(silent.expire(100 + answerWithinMs - 1), undefined);
    assert.deepEqual(silent.expire(100 + answerWithinMs)?.type, { code: "zds.timeout", awaiting: "hello" });

    const session = greeted([add("a")]);
    ask(session, 1000);
    assert.deepEqual(session.expire(6000)?.type, { code: "zds.timeout", awaiting: "ack" });
    assert.deepEqual(codeOf(session.receive(encodeResponse({}), 0)), "zds.unexpected-packet");
    assert.equal(ask(session, 6000), undefined);
    assert.equal(session.deadlineMs, undefined);
  });

  test("ends on an answer nobody asked for, on nonsense and on a descriptor", () => {
    assert.equal(codeOf(greeted([]).receive(encodeResponse({}), 0)), "zds.unexpected-packet");
    assert.equal(codeOf(new DaemonSession(0).receive(Buffer.from("ff", "hex"), 0)), "zds.undecodable");
    const session = greeted([add("a")]);
    ask(session);
    assert.equal(codeOf(session.receive(encodeResponse({}), 1)), "zds.descriptor-count");
  });

  test("a request too long for a packet is said to be so and the next one goes out", () => {
    const session = greeted([{ ...add("a"), info: { ...info, name: "x".repeat(2000) } }, add("b")]);
    assert.equal(codeOf(session.poll(0)), "zds.packet-too-long");
    assert.deepEqual(ask(session), add("b"));
  });
});

suite("daemon and agent together", () => {
  const uid = fc.constantFrom("a", "b", "c", "d");
  const event = fc.oneof(
    fc.record({ kind: fc.constantFrom("add" as const, "del" as const), uid }),
    fc.record({ kind: fc.constantFrom("daemon" as const, "agent" as const, "cut" as const) }),
  );

  test("F-152 go in lock-step, and whatever happens the agent ends up serving exactly the daemon's pods", () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 80 }), (events) => {
        const pods = new Set<string>();
        const served = new Set<string>();
        let daemon = new DaemonSession(0);
        let agent = newAgentSession;
        let toDaemon: Uint8Array[] = [];
        let toAgent: { bytes: Uint8Array; descriptors: number }[] = [];

        const connect = (): void => {
          daemon = new DaemonSession(0);
          agent = newAgentSession;
          toDaemon = [hello()];
          toAgent = [];
        };
        const daemonStep = (): boolean => {
          const bytes = toDaemon.shift();
          if (bytes !== undefined) {
            const heard = daemon.receive(bytes, 0);
            if (heard instanceof ZdsError) throw heard;
            if (heard.kind === "hello") daemon.begin([...pods].map(add));
          }
          const outgoing = daemon.poll(0);
          if (outgoing instanceof ZdsError) throw outgoing;
          if (outgoing !== undefined) {
            assert.equal(toAgent.length + toDaemon.length, 0, "one request at a time");
            toAgent.push({ bytes: outgoing.bytes, descriptors: outgoing.request.kind === "add" ? 1 : 0 });
          }
          return bytes !== undefined || outgoing !== undefined;
        };
        const agentStep = (): boolean => {
          const packet = toAgent.shift();
          if (packet === undefined) return false;
          const request = decodeRequest(packet.bytes, packet.descriptors);
          if (request instanceof ZdsError) throw request;
          const next = receive(agent, request, 0);
          if (next instanceof ZdsError) throw next;
          agent = next.session;
          const { task } = next;
          if (task.kind === "serve") served.add(task.uid);
          else if (task.kind === "stop") served.delete(task.uid);
          else if (task.kind === "stop-others") for (const one of served) if (!task.named.has(one)) served.delete(one);
          toDaemon.push(encodeResponse({}));
          return true;
        };

        connect();
        for (const one of events) {
          if (one.kind === "add" || one.kind === "del") {
            if (one.kind === "add") pods.add(one.uid);
            else pods.delete(one.uid);
            daemon.submit(one.kind === "add" ? add(one.uid) : { kind: "del", uid: one.uid });
          } else if (one.kind === "daemon") daemonStep();
          else if (one.kind === "agent") agentStep();
          else connect();
        }
        while ([daemonStep(), agentStep()].includes(true));
        assert.ok(daemon.live && agent.phase === "live");
        assert.deepEqual([...served].sort(), [...pods].sort());
      }),
      { numRuns: 500 },
    );
  });
});
