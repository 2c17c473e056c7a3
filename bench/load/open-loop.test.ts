import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Histogram } from "../measure/histogram.ts";
import { OpenLoop } from "./open-loop.ts";

/** A server with a clock: answers `serviceUs` after a request is sent, but nothing while it is stalled. */
function simulate(options: {
  connections: number;
  perSecond: number;
  warmUp?: number;
  requests: number;
  serviceUs: number;
  stall?: { fromUs: number; untilUs: number };
}): { latencies: Histogram; lateness: Histogram; sentAtUs: number[]; most: number } {
  const { serviceUs, stall, warmUp = 0, ...rest } = options;
  const latencies = new Histogram();
  const lateness = new Histogram();
  const answers: { atUs: number; connection: number }[] = [];
  const sentAtUs: number[] = [];
  const outstanding = new Map<number, number>();
  let most = 0;
  let nowUs = 0;
  const loop = new OpenLoop({
    ...rest,
    warmUp,
    startUs: 0,
    latencies,
    lateness,
    send(connection) {
      const done = nowUs + serviceUs;
      const isStalled = stall !== undefined && done >= stall.fromUs && done < stall.untilUs;
      answers.push({ atUs: isStalled ? stall.untilUs : done, connection });
      sentAtUs.push(nowUs);
      outstanding.set(connection, (outstanding.get(connection) ?? 0) + 1);
      most = Math.max(most, outstanding.get(connection) ?? 0);
    },
  });
  while (!loop.isDone) {
    answers.sort((a, b) => a.atUs - b.atUs);
    const [first] = answers;
    if (first !== undefined && first.atUs <= loop.nextDueUs) {
      answers.shift();
      nowUs = first.atUs;
      outstanding.set(first.connection, 0);
      assert(loop.answered(first.connection, nowUs));
    } else {
      nowUs = loop.nextDueUs;
      loop.advance(nowUs);
    }
  }
  assert.equal(loop.unanswered, 0);
  return { latencies, lateness, sentAtUs, most };
}

test("requests are sent when they are due, whatever the answers do", () => {
  const { sentAtUs, latencies } = simulate({ connections: 4, perSecond: 1_000, requests: 8, serviceUs: 200 });
  assert.deepEqual(sentAtUs, [0, 1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 7_000]);
  assert.equal(latencies.quantileUs(1), 200);
});

test("a stall is seen by every request that fell due in it, and not once for each connection", () => {
  // One connection would otherwise send its next request only after the stall, and see it once in a thousand.
  const stall = { fromUs: 100_000, untilUs: 200_000 };
  const { latencies, lateness } = simulate({
    connections: 1,
    perSecond: 1_000,
    requests: 1_000,
    serviceUs: 100,
    stall,
  });
  assert.equal(latencies.total, 1_000);
  // A hundred fell due in it: the first waited 100 ms, the last nearly nothing, and then a few more until it had caught up.
  assert(latencies.quantileUs(0.99) > 80_000, `p99 is ${latencies.quantileUs(0.99)}`);
  assert(latencies.quantileUs(0.95) > 40_000, `p95 is ${latencies.quantileUs(0.95)}`);
  assert.equal(latencies.quantileUs(0.5), 100);
  assert(latencies.maxUs >= 99_000 && latencies.maxUs <= 101_000);
  // The server was late, not the client.
  assert.equal(lateness.maxUs, 0);
});

test("one request at a time is on its way on a connection, and all are answered in the end", () => {
  const whole = (min: number, max: number) => fc.integer({ min, max });
  fc.assert(
    fc.property(
      whole(1, 8),
      whole(1, 5_000),
      whole(1, 200),
      whole(1, 50_000),
      (connections, perSecond, requests, serviceUs) => {
        const { most, latencies, sentAtUs } = simulate({ connections, perSecond, requests, serviceUs });
        assert.equal(most, 1);
        assert.equal(sentAtUs.length, requests);
        assert.equal(latencies.total, requests);
        assert(latencies.maxUs >= serviceUs);
      },
    ),
  );
});

test("requests of the warm-up are sent and not counted", () => {
  const { latencies, sentAtUs } = simulate({ connections: 2, perSecond: 100, warmUp: 5, requests: 10, serviceUs: 1 });
  assert.equal(sentAtUs.length, 15);
  assert.equal(latencies.total, 10);
});

test("a client that is late itself says so, and its lateness is in the latency", () => {
  const [latencies, lateness] = [new Histogram(), new Histogram()];
  const loop = new OpenLoop({
    connections: 1,
    perSecond: 1_000,
    startUs: 0,
    warmUp: 0,
    requests: 1,
    latencies,
    lateness,
    send: () => undefined,
  });
  loop.advance(150);
  assert.equal(loop.answered(0, 250), true);
  assert.equal(lateness.maxUs, 150);
  assert.equal(latencies.maxUs, 250);
});

test("an answer that nobody asked for is not taken", () => {
  const histogram = new Histogram();
  const common = { connections: 1, perSecond: 1, startUs: 0, warmUp: 0, requests: 1, send: () => undefined };
  const loop = new OpenLoop({ ...common, latencies: histogram, lateness: new Histogram() });
  assert.equal(loop.answered(0, 1), false);
  assert.equal(histogram.total, 0);
});
