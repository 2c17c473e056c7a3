import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatIdentity } from "../../../core/protocol/spiffe/identity.ts";
import { CertificateError } from "./certificate.ts";
import { cart, certificateFor, codeOf, hour, identity, issued, settle, start } from "./test-support/managed.ts";

test("F-136 callers that come together share one fetch and get the same certificate", async () => {
  const { manager, provider } = start();
  const asked = [
    manager.certificate(cart, "warmup"),
    manager.certificate(cart, "realtime"),
    manager.certificate(cart, "realtime"),
  ];
  assert.equal(provider.pending.length, 1);
  provider.issue();
  const got = await Promise.all(asked);
  assert.equal(new Set(got).size, 1);
  assert.ok(!(got[0] instanceof CertificateError));
  assert.equal(await manager.certificate(cart, "realtime"), got[0]);
  assert.equal(provider.fetches, 1);
});

test("callers that wait while the authority is away get its error, all of them, from one fetch", async () => {
  const { manager, provider } = start();
  const asked = Array.from({ length: 50 }, () => manager.certificate(cart, "realtime"));
  provider.fail();
  for (const answer of await Promise.all(asked)) assert.equal(codeOf(answer), "certificate.unavailable");
  assert.equal(provider.fetches, 1);
});

test("F-135 while a pause runs callers get the cached error at once, and after a second one of them may bring the attempt forward", async () => {
  const { manager, provider, clock } = start();
  for (const pause of [1_200, 2_400, 4_800]) {
    const asked = manager.certificate(cart, "realtime");
    if (provider.pending.length > 0) provider.fail();
    await asked;
    clock.advance(pause);
    await provider.fail();
  }
  const fetches = provider.fetches;
  assert.equal(codeOf(await manager.certificate(cart, "realtime")), "certificate.unavailable");
  assert.equal(provider.fetches, fetches, "no fetch in the first second");
  clock.advance(1_000);
  const early = manager.certificate(cart, "realtime");
  assert.equal(provider.fetches, fetches + 1, "one early attempt");
  await provider.fail();
  assert.equal(codeOf(await early), "certificate.unavailable");
  clock.advance(1_500);
  assert.equal(codeOf(await manager.certificate(cart, "realtime")), "certificate.unavailable");
  assert.equal(provider.fetches, fetches + 1, "only one");
});

test("F-133 F-140 renewal comes at half of the life, and the new certificate is announced", async () => {
  const { manager, provider, clock, changes } = start();
  await issued(manager, provider, 24 * hour);
  clock.advance(11.5 * hour);
  assert.equal(provider.fetches, 1);
  clock.advance((manager.dump()[0]?.nextAttempt ?? 0) - clock.wallMs());
  assert.equal(provider.fetches, 2);
  assert.ok(clock.wallMs() <= Date.UTC(2030, 0, 1) + 12 * hour);
  await provider.issue(24 * hour);
  assert.deepEqual(
    changes.map(({ kind }) => kind),
    ["issued", "issued"],
  );
});

for (const share of [0.49, 0.51, 0.99]) {
  test(`F-134 H051 an authority that dies at ${share * 100} % of a certificate's life is not noticed by callers until its end`, async () => {
    const { manager, provider, clock, changes } = start();
    const certificate = await issued(manager, provider, hour);
    const dies = certificate.notBefore + share * hour;
    while (clock.wallMs() < dies) {
      clock.advance(9_000);
      await settle();
      // Until it dies the authority answers, with certificates that end when this one does.
      if (provider.running() > 0) await provider.issue(certificate.notAfter - clock.wallMs());
    }
    provider.dead = true;
    while (clock.wallMs() < certificate.notAfter - 10_000) {
      clock.advance(10_000);
      await settle();
      const answer = await manager.certificate(cart, "realtime");
      assert.ok(!(answer instanceof CertificateError), "still served");
    }
    clock.advance(20_000);
    await settle();
    assert.equal(codeOf(await manager.certificate(cart, "realtime")), "certificate.unavailable");
    assert.equal(changes.at(-1)?.kind, "expired");
    assert.equal(changes.filter(({ kind }) => kind === "expired").length, 1);
  });
}

test("H051 a certificate that has just ended is not served, and a fetch begins for who asks", async () => {
  const { manager, provider, clock } = start();
  const certificate = await issued(manager, provider, hour);
  provider.dead = true;
  while (clock.wallMs() < certificate.notAfter + 400_000) {
    clock.advance(5_000);
    await settle();
  }
  provider.dead = false;
  clock.advance(1_001);
  const asked = manager.certificate(cart, "realtime");
  await provider.issue(hour);
  assert.ok(!((await asked) instanceof CertificateError));
});

test("F-135 pauses double with jitter up to 150 s and a hundred managers don't ask in step", async () => {
  const starts = await Promise.all(
    Array.from({ length: 100 }, async (_, seed) => {
      const { manager, provider, clock } = start(seed);
      provider.dead = true;
      await manager.certificate(cart, "realtime");
      const pauses: number[] = [];
      for (let attempt = 0; attempt < 12; attempt++) {
        const row = manager.dump()[0];
        const pause = (row?.nextAttempt ?? 0) - clock.wallMs();
        pauses.push(pause);
        clock.advance(pause + 1);
        await settle();
      }
      return pauses;
    }),
  );
  for (const pauses of starts) {
    for (const [attempt, pause] of pauses.entries()) {
      const nominal = Math.min(1_000 * 2 ** attempt, 150_000);
      assert.ok(pause >= nominal * 0.79 && pause <= nominal * 1.21, `attempt ${attempt}: ${pause}`);
    }
  }
  assert.ok(new Set(starts.map(([first]) => first)).size > 90);
});

test("F-136 at most eight fetches run, and a waiting connection goes before prefetches and renewals", async () => {
  const { manager, provider } = start();
  for (let index = 0; index < 20; index++) void manager.certificate(identity(`warm-${index}`), "warmup");
  void manager.certificate(identity("urgent"), "realtime");
  void manager.certificate(identity("warm-19"), "realtime");
  assert.equal(provider.pending.length, 8);
  await provider.issue();
  assert.equal(provider.pending.at(-1)?.identity.serviceAccount, "urgent");
  await provider.issue();
  assert.equal(provider.pending.at(-1)?.identity.serviceAccount, "warm-19");
  await provider.issue();
  assert.equal(provider.pending.at(-1)?.identity.serviceAccount, "warm-8");
});

test("prefetches beyond 256 are refused, and fetched when somebody waits for them", async () => {
  const { manager } = start();
  for (let index = 0; index < 8 + 256; index++) void manager.certificate(identity(`warm-${index}`), "warmup");
  assert.equal(codeOf(await manager.certificate(cart, "warmup")), "certificate.queue-full");
  void manager.certificate(cart, "realtime");
  assert.equal(
    manager.dump().some(({ identity: uri }) => uri === formatIdentity(cart)),
    true,
  );
});

test("H051 a fetch that hangs is given up, and what it brings afterwards is not used", async () => {
  const { manager, provider, clock } = start();
  const asked = manager.certificate(cart, "realtime");
  const late = provider.pending[0]!;
  clock.advance(10_000);
  assert.equal(codeOf(await asked), "certificate.timeout");
  assert.equal(late.signal.aborted, true);
  late.resolve(certificateFor(cart, clock.wallMs(), hour));
  await settle();
  assert.equal(manager.current(cart), undefined);
});

test("F-132 H051 a certificate of another identity, or one that has ended, is refused", async () => {
  for (const answer of [
    certificateFor(identity("vault"), Date.UTC(2030, 0, 1), hour),
    certificateFor(cart, Date.UTC(2029, 0, 1), hour),
  ]) {
    const { manager, provider } = start();
    const asked = manager.certificate(cart, "realtime");
    provider.pending.shift()!.resolve(answer);
    assert.equal(codeOf(await asked), "certificate.bad-answer");
  }
});

test("a provider that throws is our bug, told as such, and tried again", async () => {
  const { manager, provider, clock } = start();
  const asked = manager.certificate(cart, "realtime");
  provider.pending.shift()!.reject(new Error("oops"));
  assert.equal(codeOf(await asked), "certificate.internal-bug");
  clock.advance(1_300);
  assert.equal(provider.fetches, 2);
});

test("F-138 forgetting an identity ends its fetch, answers who waits, and leaves no timer", async () => {
  const { manager, provider, clock, changes } = start();
  const asked = manager.certificate(cart, "realtime");
  manager.forget(cart);
  assert.equal(codeOf(await asked), "certificate.forgotten");
  assert.equal(provider.pending[0]?.signal.aborted, true);
  provider.pending.length = 0;
  await issued(manager, provider, hour);
  manager.forget(cart);
  assert.equal(clock.nextTimerMs(), undefined);
  assert.deepEqual(manager.dump(), []);
  assert.deepEqual(
    changes.map(({ kind }) => kind),
    ["forgotten", "issued", "forgotten"],
  );
});

test("the dump holds no key and no PEM", async () => {
  const { manager, provider } = start();
  await issued(manager, provider, hour);
  const text = JSON.stringify(manager.dump());
  assert.doesNotMatch(text, /BEGIN|key/i);
  assert.match(text, /spiffe:\/\/cluster.local\/ns\/shop\/sa\/cart/);
});

test("whatever happens in whatever order, no more than eight fetches run and every caller gets an answer", async () => {
  const step = fc.oneof(
    fc.record({
      kind: fc.constant("ask" as const),
      who: fc.nat(12),
      priority: fc.constantFrom("realtime", "warmup", "background"),
    }),
    fc.record({ kind: fc.constant("issue" as const) }),
    fc.record({ kind: fc.constant("fail" as const) }),
    fc.record({ kind: fc.constant("forget" as const), who: fc.nat(12) }),
    fc.record({ kind: fc.constant("wait" as const), ms: fc.integer({ min: 1, max: 2 * hour }) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const { manager, provider, clock } = start();
      const asked: Promise<unknown>[] = [];
      for (const item of steps) {
        if (item.kind === "ask") asked.push(manager.certificate(identity(`sa-${item.who}`), item.priority));
        if (item.kind === "issue") await provider.issue();
        if (item.kind === "fail") await provider.fail();
        if (item.kind === "forget") manager.forget(identity(`sa-${item.who}`));
        if (item.kind === "wait") clock.advance(item.ms);
        await settle();
        assert.ok(provider.running() <= 8);
        assert.equal(manager.dump().filter(({ work }) => work === "fetching").length, provider.running());
      }
      manager.close();
      await Promise.all(asked);
      assert.equal(clock.nextTimerMs(), undefined);
    }),
    { numRuns: 60 },
  );
});
