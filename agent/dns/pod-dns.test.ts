/** A pod's DNS proxy against resolvers and clients that don't do what they should. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { after, test } from "node:test";
import {
  A,
  AAAA,
  dnsMessage,
  extendedErrorOf,
  optRecord,
  summaryOf,
  withCounts,
} from "../../test/support/dns-messages.ts";
import { DnsPod, type DnsPodOptions } from "../../test/support/dns-pod.ts";
import { pod as workload, port, service } from "../../test/support/mesh.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { until } from "../../test/support/until.ts";
import { frame } from "../../core/protocol/dns/tcp-frames.ts";

const skip = enterNamespaces() ?? false;
const cart = service("shop/cart", "10.96.0.1", [port(80, 8080)]);
const alice = workload("shop/alice", "10.0.0.1");
const mesh = { services: [cart], workloads: [alice] };
const server = { address: "127.0.0.1", port: 53 };
const local = "cart.shop.svc.cluster.local";
const foreign = dnsMessage({ name: "www.example.com", type: 16, additional: [optRecord()] });

const open: DnsPod[] = [];
async function start(options: DnsPodOptions = {}): Promise<DnsPod> {
  const made = await DnsPod.start({ mesh, ...options });
  open.push(made);
  return made;
}
after(async () => {
  for (const one of open) await one.close();
});

test("F-010 both loopback addresses answer, over both protocols", { skip }, async () => {
  const pod = await start();
  for (const address of ["127.0.0.1", "::1"]) {
    assert.equal(summaryOf(await pod.ask(dnsMessage({ name: local, type: A }), address)), "NOERROR aa 10.96.0.1");
  }
  const { say, replies, socket } = pod.dial();
  say(dnsMessage({ name: local, type: A, id: 1 }), dnsMessage({ name: local, type: AAAA, id: 2 }));
  await until("two answers", 5_000, () => replies.length === 2);
  assert.deepEqual(replies.map(summaryOf), ["NOERROR aa 10.96.0.1", "NOERROR aa"]);
  socket.end();
  await once(socket, "close");
});

test(
  "H086 what is no query is refused or left without an answer, and nothing of it is passed on",
  { skip },
  async () => {
    const pod = await start();
    pod.resolver(server, () => assert.fail("nothing of that is anybody else's business"));
    assert.equal(summaryOf(await pod.ask(dnsMessage({ name: "a", type: A, flags: 2 << 11 }))), "NOTIMP");
    assert.equal(summaryOf(await pod.ask(withCounts(foreign, 2, 0, 0, 1))), "FORMERR");
    assert.equal(summaryOf(await pod.ask(withCounts(foreign, 1, 0xffff, 0xffff, 0xffff))), "FORMERR");
    let heard = 0;
    for (const bytes of [Buffer.alloc(3), dnsMessage({ name: local, type: A, flags: 0x8180 })])
      void pod.ask(bytes).then(
        () => heard++,
        () => undefined,
      );
    // What was sent before has been read before.
    await pod.ask(dnsMessage({ name: local, type: A }));
    assert.equal(heard, 0);
    const { socket, say } = pod.dial();
    say(dnsMessage({ name: local, type: A, flags: 0x8180 }));
    await once(socket, "close");
  },
);

test(
  "F-186 H089 only the answer to the query counts, whatever comes before it and from wherever",
  { skip },
  async () => {
    const pod = await start();
    const intruder = pod.resolver({ address: "127.0.0.2", port: 53 }, () => undefined);
    const ids = new Set<number>();
    const ports = new Set<number>();
    pod.resolver(server, (query, from, socket) => {
      ids.add(query.readUInt16BE(0));
      ports.add(from.port);
      const reply = Buffer.from(query);
      reply.writeUInt16BE(0x8180, 2);
      const say = (bytes: Buffer, by = socket): void => void by.send(bytes, from.port, from.address);
      const wrongId = Buffer.from(reply);
      wrongId.writeUInt16BE(query.readUInt16BE(0) ^ 1, 0);
      const wrongQuestion = Buffer.from(reply);
      wrongQuestion[13] = 0x58;
      say(wrongId);
      say(wrongQuestion);
      say(query);
      say(reply.subarray(0, 20));
      say(reply, intruder);
      const answer = Buffer.concat([reply, Buffer.from("anything")]);
      intruder.send(wrongId, from.port, from.address, () => say(answer));
    });
    for (let i = 0; i < 40; i++) {
      const reply = await pod.ask(foreign);
      const expected = Buffer.concat([foreign, Buffer.from("anything")]);
      expected.writeUInt16BE(0x8180, 2);
      assert.deepEqual(reply, expected);
    }
    assert.ok(ids.size > 35 && ports.size > 35, `${ids.size} ids, ${ports.size} ports`);
    assert.deepEqual(
      [...new Set(pod.observer.events)],
      ["requested TXT udp alice", "forwarded TXT udp alice", "answered TXT udp alice"],
    );
  },
);

test(
  "F-186 whom the kernel names is asked, and not who was configured; whoever asks 15053 itself is helped by those",
  { skip },
  async () => {
    const chosen = { address: "127.0.0.9", port: 5353 };
    const named = await start({ original: chosen });
    named.resolver(server, () => assert.fail("not who was asked"));
    named.resolver(chosen, answering);
    named.tcpResolver(chosen, (query, socket) => socket.write(frame(answered(query))));
    assert.equal(summaryOf(await named.ask(foreign)), "NOERROR");
    const { say, replies } = named.dial();
    say(foreign);
    await until("an answer over TCP", 5_000, () => replies.length === 1);

    const direct = await start({ original: { address: "127.0.0.1", port: 15_053 } });
    direct.resolver(server, answering);
    assert.equal(summaryOf(await direct.ask(foreign)), "NOERROR");
  },
);

test(
  "F-186 of several resolvers the next is asked where one can't be reached; without any, the client is told",
  { skip },
  async () => {
    const absent = { address: "127.0.0.3", port: 53 };
    const pod = await start({ settings: { nameServers: [absent, server] } });
    pod.resolver(server, answering);
    pod.tcpResolver(server, (query, socket) => socket.write(frame(answered(query))));
    assert.equal(summaryOf(await pod.ask(foreign)), "NOERROR");
    const { say, replies } = pod.dial();
    say(foreign);
    await until("an answer over TCP", 5_000, () => replies.length === 1);
    assert.equal(summaryOf(replies[0] ?? Buffer.alloc(12)), "NOERROR");

    const nobody = await start({ settings: { nameServers: [] } });
    const reply = await nobody.ask(foreign);
    assert.equal(summaryOf(reply), "SERVFAIL");
    assert.equal(extendedErrorOf(reply), "DNS_NO_SERVER");
  },
);

test("F-187 a resolver's refusal is passed on as it is", { skip }, async () => {
  const pod = await start();
  pod.resolver(server, (query, from, socket) => {
    const reply = answered(query);
    reply.writeUInt16BE(0x8185, 2);
    socket.send(reply, from.port, from.address);
  });
  assert.equal(summaryOf(await pod.ask(foreign)), "REFUSED");
});

test(
  "a resolver that is silent for five seconds costs a SERVFAIL with the reason, and leaves nothing behind",
  { skip },
  async () => {
    const pod = await start();
    let heard = 0;
    pod.resolver(server, () => heard++);
    pod.tcpResolver(server, () => heard++);
    const before = readdirSync("/proc/self/fd").length;
    const { say, replies } = pod.dial();
    say(foreign);
    const reply = pod.ask(foreign);
    await until("both have been passed on", 5_000, () => heard === 2);
    pod.pass(4_900);
    assert.equal(pod.dns.size, 3, "two queries and a connection");
    pod.pass(100);
    assert.equal(extendedErrorOf(await reply), "DNS_TIMEOUT");
    await until("an answer over TCP", 5_000, () => replies.length === 1);
    assert.equal(extendedErrorOf(replies[0] ?? Buffer.alloc(0)), "DNS_TIMEOUT");
    pod.pass(5_000);
    await until(
      "everything is closed",
      5_000,
      () => pod.dns.size === 0 && readdirSync("/proc/self/fd").length <= before,
    );
    assert.deepEqual(
      pod.observer.events.filter((event) => event.startsWith("failed")),
      ["failed TXT udp alice", "failed TXT tcp alice"],
    );
  },
);

test(
  "F-028 a query comes before control has described the pod: it waits, the rest does not, and after five seconds there is a reason",
  { skip },
  async () => {
    const pod = await start({ mesh: { services: [cart] } });
    pod.resolver(server, answering);
    assert.equal(summaryOf(await pod.ask(foreign)), "NOERROR", "a type that is never ours waits for nobody");
    const early = pod.ask(dnsMessage({ name: local, type: A }));
    const { say, replies } = pod.dial();
    say(dnsMessage({ name: local, type: A }));
    await until("both wait", 5_000, () => pod.dns.size === 3);
    pod.mesh.apply({ workloads: [alice] });
    assert.equal(summaryOf(await early), "NOERROR aa 10.96.0.1");
    await until("an answer over TCP", 5_000, () => replies.length === 1);

    const unknown = await start({ mesh: { services: [cart] } });
    const late = unknown.ask(dnsMessage({ name: local, type: A, additional: [optRecord()] }));
    await until("it waits", 5_000, () => unknown.dns.size === 1);
    unknown.clock.advance(5_000);
    const reply = await late;
    assert.equal(summaryOf(reply), "SERVFAIL");
    assert.equal(extendedErrorOf(reply), "POD_UNKNOWN");
  },
);

test(
  "H088 of 3,000 random names at once as many are passed on as may wait, the rest is told so, and names of the mesh are answered meanwhile",
  { skip },
  async () => {
    const pod = await start({ settings: { inFlight: 200 } });
    pod.resolver(server, () => undefined);
    const before = process.memoryUsage().arrayBuffers;
    let busy = 0;
    for (let i = 0; i < 3_000; i++) {
      const query = dnsMessage({ name: `${i}.random.example.com`, type: A, additional: [optRecord()] });
      void pod.ask(query).then(
        (reply) => {
          if (extendedErrorOf(reply) === "DNS_BUSY") busy++;
        },
        () => undefined,
      );
      // No faster than the socket's buffer takes them.
      if (i % 100 === 99)
        await until("these have been read", 5_000, () => pod.opened >= Math.min(200, i + 1) && busy >= i + 1 - 200);
    }
    assert.equal(pod.opened, 200);
    assert.equal(busy, 2_800);
    assert.equal(pod.dns.size, 200);
    assert.equal(summaryOf(await pod.ask(dnsMessage({ name: local, type: A }))), "NOERROR aa 10.96.0.1");
    assert.ok(process.memoryUsage().arrayBuffers - before < 32 * 1_048_576);
    pod.pass(5_000);
    await until("nothing waits any more", 5_000, () => pod.dns.size === 0);
  },
);

test(
  "H088 10,000 queries down one connection are read as fast as they are answered, in order of nothing but that",
  { skip },
  async () => {
    const pod = await start({ settings: { inFlight: 1_000 } });
    let most = 0;
    pod.tcpResolver(server, (query, socket) => {
      most = Math.max(most, pod.dns.size);
      setImmediate(() => socket.write(frame(answered(query))));
    });
    const { say, replies } = pod.dial();
    const queries = Array.from({ length: 10_000 }, (_, id) =>
      dnsMessage({ id, name: id % 2 === 0 ? local : "www.example.com", type: A }),
    );
    say(...queries);
    await until("10,000 answers", 30_000, () => replies.length === 10_000);
    assert.equal(new Set(replies.map((reply) => reply.readUInt16BE(0))).size, 10_000);
    assert.ok(most <= 1_000, `${most} waited at once`);
  },
);

test(
  "H088 a client over TCP that sends a byte a second, or nothing, or reads nothing, is left after five seconds",
  { skip },
  async () => {
    const pod = await start();
    const slow = pod.dial();
    const idle = pod.dial();
    await until("both are there", 5_000, () => pod.dns.size === 2);
    const bytes = frame(dnsMessage({ name: local, type: A }));
    for (let second = 0; second < 4; second++) {
      slow.socket.write(bytes.subarray(second, second + 1));
      await new Promise((resolve) => setImmediate(resolve));
      pod.pass(1_000);
    }
    pod.pass(1_000);
    await Promise.all([once(idle.socket, "close"), once(slow.socket, "close")]);
    assert.equal(pod.dns.size, 0);
  },
);

test("a connection that the resolver ends is told so, and the next query gets another one", { skip }, async () => {
  const pod = await start();
  let connections = 0;
  pod.tcpResolver(server, (query, socket) => {
    connections++;
    if (connections === 1) socket.destroy();
    else socket.write(frame(answered(query)));
  });
  const { say, replies } = pod.dial();
  say(foreign);
  await until("a failure", 5_000, () => replies.length === 1);
  assert.equal(extendedErrorOf(replies[0] ?? Buffer.alloc(0)), "DNS_UNREACHABLE");
  say(foreign);
  await until("an answer", 5_000, () => replies.length === 2);
  assert.equal(summaryOf(replies[1] ?? Buffer.alloc(12)), "NOERROR");
});

test("several messages to one query over TCP all pass, as in a zone transfer", { skip }, async () => {
  const pod = await start();
  pod.tcpResolver(server, (query, socket) => {
    for (let part = 0; part < 5; part++) socket.write(frame(Buffer.concat([answered(query), Buffer.of(part)])));
  });
  const { say, replies, socket } = pod.dial();
  say(dnsMessage({ name: "example.com", type: 252 }));
  await until("five messages", 5_000, () => replies.length === 5);
  assert.deepEqual(
    replies.map((reply) => reply.at(-1)),
    [0, 1, 2, 3, 4],
  );
  socket.end();
  await once(socket, "close");
});

test("H087 a resolver that is this agent itself is not asked", { skip }, async () => {
  for (const address of ["127.0.0.1", "::1", "127.0.0.53"]) {
    const pod = await start({ settings: { nameServers: [{ address, port: 15_053 }] } });
    const reply = await pod.ask(foreign);
    assert.equal(summaryOf(reply), "SERVFAIL");
    assert.equal(extendedErrorOf(reply), "DNS_LOOP");
    const { say, replies } = pod.dial();
    say(foreign);
    await until("an answer over TCP", 5_000, () => replies.length === 1);
    assert.equal(extendedErrorOf(replies[0] ?? Buffer.alloc(0)), "DNS_LOOP");
    assert.equal(pod.opened, 0);
  }
});

test(
  "H087 a local stub that asks this agent again is found out by a probe, at the first query, and told apart from one that only is slow",
  { skip },
  async () => {
    const pod = await start();
    let asked = 0;
    pod.resolver(server, (query, from, socket) => {
      asked++;
      // What dnsmasq does that is told to ask 127.0.0.1#15053: under an id of its own.
      const own = Buffer.from(query);
      own.writeUInt16BE(asked & 0xffff, 0);
      void pod.ask(own).then(
        (reply) => {
          const back = Buffer.from(reply);
          back.writeUInt16BE(query.readUInt16BE(0), 0);
          socket.send(back, from.port, from.address);
        },
        () => undefined,
      );
    });
    const reply = await pod.ask(foreign);
    assert.equal(summaryOf(reply), "SERVFAIL");
    assert.equal(extendedErrorOf(reply), "DNS_LOOP");
    assert.ok(asked < 50, `it went round ${asked} times`);
    const rounds = asked;
    assert.equal(extendedErrorOf(await pod.ask(foreign)), "DNS_LOOP");
    assert.equal(asked, rounds, "it is known by now");
    await until("nothing waits any more", 5_000, () => pod.dns.size === 0);

    const slow = await start();
    const held: (() => void)[] = [];
    let probes = 0;
    slow.resolver(server, (query, from, socket) => {
      if (query.includes("ambientd-loop")) probes++;
      const reply = answered(query);
      if (query.includes("ambientd-loop")) reply.writeUInt16BE(0x8183, 2);
      held.push(() => socket.send(reply, from.port, from.address));
    });
    const many = Array.from({ length: 30 }, () => slow.ask(foreign));
    await until("all wait there", 5_000, () => held.length === 31);
    for (const answer of held) answer();
    for (const reply of await Promise.all(many)) assert.equal(summaryOf(reply), "NOERROR");
    assert.equal(probes, 1);
  },
);

test("a pod that leaves: what was asked is still answered, then the sockets are closed", { skip }, async () => {
  const pod = await start();
  const held: (() => void)[] = [];
  pod.resolver(server, (query, from, socket) => held.push(() => socket.send(answered(query), from.port, from.address)));
  const asked = pod.ask(foreign);
  await until("it waits there", 5_000, () => held.length === 1);
  await pod.dns.close();
  assert.equal(pod.dns.size, 1);
  for (const answer of held) answer();
  assert.equal(summaryOf(await asked), "NOERROR");
  await until("nothing is left", 5_000, () => pod.dns.size === 0);
  await until("nobody is there", 5_000, () =>
    pod.ask(dnsMessage({ name: local, type: A })).then(
      () => false,
      () => true,
    ),
  );
});

function answered(query: Buffer): Buffer {
  const reply = Buffer.from(query);
  reply.writeUInt16BE(0x8180, 2);
  return reply;
}

function answering(
  query: Buffer,
  from: { port: number; address: string },
  socket: { send: (bytes: Buffer, port: number, address: string) => void },
): void {
  socket.send(answered(query), from.port, from.address);
}
