/** As a runtime waits for CNI, an ambient pod's first process waits for its enrolment, but not for ever. No agent here: nobody is ever enrolled. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TimedEvent } from "../../lab/events.ts";
import { labWith, untilStatus } from "../support/plain-lab.ts";

const pod = { apiVersion: "v1", kind: "Pod", spec: { containers: [{ name: "a", command: ["sleep", "1000"] }] } };
const inShop = { ...pod, metadata: { name: "patient", namespace: "shop" } };
const outside = { ...pod, metadata: { name: "free", namespace: "default" } };
const shop = {
  apiVersion: "v1",
  kind: "Namespace",
  metadata: { name: "shop", labels: { "istio.io/dataplane-mode": "ambient" } },
};
const manifests = [shop, inShop, outside].map((object) => JSON.stringify(object)).join("\n---\n");

test("a pod that is not enrolled in time starts without, and the lab says so; others don't wait", async () => {
  const events: TimedEvent[] = [];
  const lab = await labWith(manifests, {
    components: ["cni"],
    enrolmentWaitMs: 700,
    onEvent: (event) => events.push(event),
  });
  await lab.close();
  const firstMs = (name: string, stage: string): number =>
    events.find((event) => event.kind === "pod" && event.pod === name && event.stage === stage)?.atMs ??
    assert.fail(name);
  assert.ok(firstMs("shop/patient", "running") - firstMs("shop/patient", "networked") >= 690);
  assert.ok(firstMs("default/free", "running") < firstMs("shop/patient", "running"));
  assert.ok(events.some((event) => event.kind === "problem" && /shop\/patient was not enrolled/.test(event.sentence)));
});

test("a pod starts as soon as it is annotated", async () => {
  const lab = await labWith(manifests, { components: ["cni"], enrolmentWaitMs: 600_000, readyWithinMs: 0 });
  try {
    await untilStatus(lab, "the pod's network", ({ pods }) =>
      pods.some((one) => one.pod === "shop/patient" && one.stage === "networked"),
    );
    const annotations = { "ambient.istio.io/redirection": "enabled" };
    const annotated = { ...inShop, metadata: { ...inShop.metadata, annotations } };
    const all = [shop, annotated, outside].map((object) => JSON.stringify(object)).join("\n---\n");
    await lab.request("PUT", "/manifests/test.yaml", all);
    await untilStatus(lab, "its process", ({ pods }) => pods.some((one) => one.pod === "shop/patient" && one.ready));
  } finally {
    await lab.close();
  }
});

test("a lab ends in order while pods still wait", async () => {
  const lab = await labWith(manifests, { components: ["cni"], enrolmentWaitMs: 600_000, readyWithinMs: 0 });
  await untilStatus(lab, "the pod's network", ({ pods }) =>
    pods.some((one) => one.pod === "shop/patient" && one.stage === "networked"),
  );
  const startMs = performance.now();
  await lab.close();
  assert.ok(performance.now() - startMs < 60_000);
});
