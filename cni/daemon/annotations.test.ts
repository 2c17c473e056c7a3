import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../core/base/clock.ts";
import { seededRandom } from "../../core/base/random.ts";
import type { ObjectRef } from "../../control/sources/source.ts";
import { AnnotationWriter, type Annotation } from "./annotations.ts";
import { HandSource, pod } from "./test-support/objects.ts";

const ref: ObjectRef = { kind: "Pod", namespace: "shop", name: "cart" };

test("the last value wins, and only what stands is reported", async () => {
  const { writer, source, news } = world();
  source.put(pod({ uid: "a", name: "cart" }));
  writer.write(said("a", "pending"));
  writer.write(said("a", "enabled"));
  writer.write(said("a", undefined));
  writer.write(said("a", "enabled"));
  await turns();
  assert.equal(source.redirectionOf("shop", "cart"), "enabled");
  assert.deepEqual(news, ["written a enabled"]);
});

test("a failure is reported and tried again until the value stands", async () => {
  const { writer, source, news, clock } = world();
  source.put(pod({ uid: "a", name: "cart" }));
  source.broken = "no space left";
  writer.write(said("a", "enabled"));
  await turns();
  clock.advance(200);
  await turns();
  assert.deepEqual(news.splice(0), ["failed a", "failed a"]);
  source.broken = undefined;
  clock.advance(500);
  await turns();
  assert.deepEqual(news, ["written a enabled"]);
  assert.equal(clock.nextTimerMs(), undefined);
});

test("a pod that is gone takes back what was said of it, but not what its successor of that name says", async () => {
  const { writer, source, news } = world();
  writer.write(said("old", "enabled"));
  await turns();
  writer.write(said("new", "enabled"));
  await turns();
  writer.write(said("old", undefined, true));
  await turns();
  assert.deepEqual(news.splice(0), ["written old enabled", "written new enabled", "written old undefined"]);
  assert.deepEqual(source.written.at(-1)?.redirection, "enabled");
  writer.write(said("new", undefined, true));
  await turns();
  assert.equal(source.written.at(-1)?.redirection, "taken back");
});

function said(uid: string, redirection: Annotation["redirection"], gone = false): Annotation {
  return { uid, ref, redirection, gone };
}

function world() {
  const source = new HandSource();
  const clock = new ManualClock();
  const news: string[] = [];
  const writer = new AnnotationWriter({
    source,
    clock,
    random: seededRandom(1),
    onWritten: ({ uid, redirection }) => news.push(`written ${uid} ${redirection}`),
    onFailed: ({ uid }) => news.push(`failed ${uid}`),
  });
  return { writer, source, clock, news };
}

/** Lets the promises that are ready run. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
