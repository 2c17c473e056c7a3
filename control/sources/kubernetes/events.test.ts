import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../../core/base/clock.ts";
import { silentLog } from "../../../core/base/log.ts";
import { EventRecorder, type EventToSay } from "./events.ts";

const event: EventToSay = {
  ref: { kind: "Pod", namespace: "shop", name: "cart", uid: "u1" },
  type: "Warning",
  reason: "NotCaptured",
  message: "the pod uses the host's network",
};

test("an event names its object, its reporter and when", async () => {
  const { recorder, sent } = setUp();
  await recorder.say(event);
  const [first] = sent;
  assert.equal(first?.path, "/apis/events.k8s.io/v1/namespaces/shop/events");
  const { metadata, ...body } = first.body as { metadata: { name: string } };
  assert.match(metadata.name, /^cart\.[-0-9a-f]+$/);
  assert.deepEqual(body, {
    apiVersion: "events.k8s.io/v1",
    kind: "Event",
    eventTime: "2030-01-01T00:00:00.000000Z",
    reportingController: "ambientd-cni",
    reportingInstance: "node1",
    action: "NotCaptured",
    reason: "NotCaptured",
    type: "Warning",
    note: "the pod uses the host's network",
    regarding: { apiVersion: "v1", kind: "Pod", namespace: "shop", name: "cart", uid: "u1" },
  });
});

test("what is said again within five minutes is not written again, of another object it is", async () => {
  const { recorder, sent, clock } = setUp();
  for (let round = 0; round < 10; round++) await recorder.say(event);
  assert.equal(sent.length, 1);
  await recorder.say({ ...event, ref: { ...event.ref, uid: "u2" } });
  assert.equal(sent.length, 2);
  clock.advance(300_001);
  await recorder.say(event);
  assert.equal(sent.length, 3);
});

test("nobody makes us flood the API server", async () => {
  const { recorder, sent, clock } = setUp();
  const flood = async (from: number) => {
    for (let index = 0; index < 200; index++) await recorder.say({ ...event, message: `number ${from + index}` });
  };
  await flood(0);
  assert.equal(sent.length, 50);
  assert.equal(recorder.dropped, 150);
  clock.advance(10_000);
  await flood(200);
  assert.equal(sent.length, 60);
});

test("a sentence too long for an event is cut between two characters", async () => {
  const { recorder, sent } = setUp();
  await recorder.say({ ...event, message: "é".repeat(2_000) });
  const { note } = sent[0]?.body as { note: string };
  assert.ok(Buffer.byteLength(note) <= 1_024);
  assert.match(note, /^é+…$/);
});

test("the events of what lives in no namespace are in the default one", async () => {
  const { recorder, sent } = setUp();
  await recorder.say({ ...event, ref: { kind: "Node", namespace: "", name: "node1", uid: "n1" } });
  assert.equal(sent[0]?.path, "/apis/events.k8s.io/v1/namespaces/default/events");
});

function setUp() {
  const sent: { path: string; body: unknown }[] = [];
  const clock = new ManualClock();
  const client = {
    create: <T>(path: string, body: unknown): Promise<T> => {
      sent.push({ path, body });
      return Promise.resolve({} as T);
    },
  };
  const recorder = new EventRecorder({ client, component: "ambientd-cni", instance: "node1", log: silentLog, clock });
  return { recorder, sent, clock };
}
