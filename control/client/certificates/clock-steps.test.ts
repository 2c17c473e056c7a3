import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../../core/base/clock.ts";
import { CertificateError } from "./certificate.ts";
import { cart, hour, identity, issued, start, stepping } from "./test-support/managed.ts";

for (const [what, stepMs] of [
  ["an hour back", -hour],
  ["ten years back", -10 * 365 * 24 * hour],
  ["an hour on", hour],
] as const) {
  test(`H109 a clock that is set ${what} while a pause runs makes it neither longer nor shorter`, async () => {
    const { manager, provider, clock, step } = stepping();
    const asked = manager.certificate(cart, "realtime");
    await provider.fail();
    await asked;
    step(stepMs);
    const { nextAttempt = 0 } = manager.dump()[0] ?? {};
    assert.ok(nextAttempt > clock.wallMs() + stepMs && nextAttempt <= clock.wallMs() + stepMs + 1_200);
    clock.advance(790);
    assert.equal(provider.fetches, 1);
    clock.advance(420);
    assert.equal(provider.fetches, 2);
  });

  test(`H109 a clock that is set ${what} keeps nobody from asking again when a renewal has failed`, async () => {
    const { manager, provider, clock, step } = stepping();
    await issued(manager, provider, 24 * hour, clock.wallMs());
    clock.advance((manager.dump()[0]?.nextAttempt ?? 0) - clock.wallMs());
    assert.equal(provider.fetches, 2);
    await provider.fail();
    step(stepMs);
    clock.advance(1_300);
    assert.equal(provider.fetches, 3);
  });
}

test("H109 a clock ten years ahead asks for each certificate at the pace of its pauses, and once it is right gets it", async () => {
  const { manager, provider, clock, step } = stepping();
  const who = Array.from({ length: 8 }, (_, at) => identity(`sa-${at}`));
  for (const one of who) void manager.certificate(one, "realtime");
  for (const _ of who) await provider.issue(24 * hour, clock.wallMs());
  assert.equal(provider.fetches, 8);
  step(10 * 365 * 24 * hour);
  // The authority knows the time: what it gives has ended by this clock. Connections ask all the while.
  for (let second = 0; second < 3_600; second++) {
    for (const one of who) for (let each = 0; each < 3; each++) void manager.certificate(one, "realtime");
    while (provider.running() > 0) await provider.issue(24 * hour, clock.wallMs());
    clock.advance(1_000);
  }
  // Pauses of 1, 2, 4 … 150 seconds, each cut short once.
  assert.ok(provider.fetches < 8 * 75, `${provider.fetches} fetches in an hour`);
  step(0);
  for (let second = 0; second < 180; second++) {
    clock.advance(1_000);
    while (provider.running() > 0) await provider.issue(24 * hour, clock.wallMs());
  }
  for (const one of who) assert.ok(manager.current(one));
});

test("H109 a clock that jumps past the end of a certificate ends it at the next question", async () => {
  const clock = new ManualClock();
  let skewMs = 0;
  const { manager, provider, changes } = start(1, {
    nowMs: () => clock.nowMs(),
    wallMs: () => clock.wallMs() + skewMs,
    after: (ms, fire) => clock.after(ms, fire),
  });
  await issued(manager, provider, hour, clock.wallMs());
  skewMs = 2 * hour;
  const asked = manager.certificate(cart, "realtime");
  assert.equal(changes.at(-1)?.kind, "expired");
  await provider.issue(hour, clock.wallMs() + skewMs);
  assert.ok(!((await asked) instanceof CertificateError));
});
