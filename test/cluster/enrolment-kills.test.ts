/**
 * The node daemon is killed -9 at every step of a pod's way in and out of the mesh. Its successor must bring every pod to where its
 * label wants it: captured with all that belongs to it, or out with nothing left. Meanwhile pods talk, and the captured in tunnels only.
 */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Unavailable, type Cluster } from "./cluster.ts";
import { captured, podsOf } from "./mesh/capture.ts";
import { ComponentLog } from "./mesh/component-log.ts";
import { ambient, meshedCluster, namespace, remove, systemNamespace } from "./mesh/install.ts";
import { watchLink, type LinkWatch } from "./mesh/link.ts";
import { Load, sentence, type LoadReport } from "./mesh/load.ts";
import { podOf, processOf } from "./mesh/parts-of-ours.ts";
import { assertCaptured, assertFree } from "./mesh/remains.ts";
import { apply, client, ready, server } from "./mesh/workloads.ts";
import { until } from "../support/until.ts";

const always = "marker-f1d07c3e-always-captured";
const turning = "marker-83ab55d9-in-and-out";
/** cni/daemon/enrolment.ts. */
const inward = ["inspecting", "routing", "offered", "acknowledged", "redirected", "enrolled"] as const;
const outward = ["unannotating", "releasing", "settling", "withdrawing", "draining", "removing"] as const;
const both = ["turn-a", "turn-b"] as const;

const cluster = await meshedCluster();
const skip = cluster instanceof Unavailable ? `no cluster: ${cluster.missing}` : false;

describe("the node daemon killed -9 at each step", { skip }, () => {
  const mesh = cluster as Cluster;
  const loads: { readonly namespace: string; readonly load: Load }[] = [];
  const died = new Map<string, number>();
  let links: LinkWatch[] = [];

  before(async () => {
    await Promise.all([namespace(mesh, "kept", ambient), namespace(mesh, both[0]), namespace(mesh, both[1], ambient)]);
    for (const name of ["kept", ...both])
      await apply(mesh, name, [
        ...server({ name: "web", marker: name === "kept" ? always : turning, replicas: 2, spread: true }),
        ...client("caller", "node1"),
      ]);
    for (const name of ["kept", ...both]) await ready(mesh, name);
    await Promise.all([captured(mesh, "kept", true), captured(mesh, both[1], true)]);
    links = mesh.nodes.map((node) => watchLink(node, [always, turning]));
    for (const name of ["kept", ...both]) {
      const { spec } = await mesh.get<{ spec: { clusterIP: string } }>(["service", "web", "-n", name]);
      const url = `http://${spec.clusterIP}/${name === "kept" ? always : turning}`;
      loads.push({ namespace: name, load: await Load.start(mesh, { namespace: name, pod: "caller", url, rate: 40 }) });
    }
  });
  after(async () => {
    for (const link of links) link.close();
    for (const { load } of loads) await load.stop();
    await remove(mesh, "kept", ...both);
  });

  for (const [round, into] of inward.entries()) {
    const outOf = outward[round]!;
    // What comes in this time goes out the next.
    const [comes, goes] = round % 2 === 0 ? both : [both[1], both[0]];
    it(`${into} on the way in, ${outOf} on the way out`, async (t) => {
      const begun = performance.now();
      const [first, second] = round % 2 === 0 ? (["node1", "node2"] as const) : (["node2", "node1"] as const);
      const [one, other] = await Promise.all([aimAt(first), aimAt(second)]);
      await Promise.all([
        one((pod, to) => pod.startsWith(`${comes}/`) && to === into).then(t.diagnostic.bind(t)),
        other((pod, to) => pod.startsWith(`${goes}/`) && to === outOf).then(t.diagnostic.bind(t)),
        mesh.mustKubectl(["label", "namespace", comes, "istio.io/dataplane-mode=ambient"]),
        mesh.mustKubectl(["label", "namespace", goes, "istio.io/dataplane-mode-"]),
        // In some rounds one comes while nobody may be there to say yes: the kubelet asks again after ten seconds and more.
        round % 3 === 0 ? apply(mesh, comes, client("late", first)) : undefined,
      ]);
      await ready(mesh, comes);
      await Promise.all([captured(mesh, comes, true), captured(mesh, goes, false)]);
      const convergedMs = Math.round(performance.now() - begun);
      await assertCaptured(mesh, await podsOf(mesh, comes));
      await until(`nothing is left in pods of ${goes}`, 30_000, async () => {
        await assertFree(mesh, await podsOf(mesh, goes));
        return true;
      });
      await mesh.mustKubectl(["delete", "pod", "late", "-n", comes, "--ignore-not-found", "--wait=false"]);
      t.diagnostic(`all pods where they belong after ${convergedMs} ms`);
    });
  }

  it("was killed in each of these steps", (t) => {
    const hit = [...died].map(([phase, times]) => `${phase} ${times}`).join(", ");
    t.diagnostic(`pods were at: ${hit}`);
    assert.ok(died.size >= 8, hit);
  });

  it("never kept pods from each other for long, and lost nothing of those who stayed in the mesh", async (t) => {
    const reports = new Map<string, LoadReport>();
    for (const { namespace: name, load } of loads.splice(0)) {
      const report = await load.stop();
      reports.set(name, report);
      t.diagnostic(`${name}: ${sentence(report)}`);
    }
    for (const [name, { new: fresh }] of reports) {
      assert.ok(fresh.total > 500, `${name}: there was load`);
      assert.equal(fresh.notStarted, 0, `${name}: no black hole`);
      assert.ok(fresh.longestGapMs < 3_000, `${name}: ${fresh.longestGapMs} ms`);
    }
    assert.equal(reports.get("kept")?.new.failed, 0);
    for (const link of links) {
      const { marked, dropped } = link.counts();
      assert.equal(dropped, 0, "the sniffer kept up");
      assert.equal(marked[always], 0, "frames in plaintext between captured pods");
      assert.ok((marked[turning] ?? 0) > 0, "those outside the mesh can be read");
    }
  });

  it("leaves daemons that take pods in and let them go as ever", async () => {
    for (const yes of [true, false]) {
      const label = `istio.io/dataplane-mode${yes ? "=ambient" : "-"}`;
      await mesh.mustKubectl(["label", "namespace", ...both, label]);
      for (const name of both) await captured(mesh, name, yes);
    }
    await until("nothing is left in pods", 30_000, async () => {
      await assertFree(mesh, (await Promise.all(both.map((name) => podsOf(mesh, name)))).flat());
      return true;
    });
  });

  /**
   * @returns what kills the node's daemon in the moment it writes that a pod has come to where `isIt` says; it settles when another
   * daemon is there, and tells how far each pod was.
   */
  async function aimAt(node: string): Promise<(isIt: (pod: string, to: string) => boolean) => Promise<string>> {
    const { pid, log, metadata } = await until(`a daemon on ${node}`, 60_000, async () => {
      const pod = await podOf(mesh, "cni", node);
      if (pod.status.containerStatuses?.[0]?.ready !== true) return undefined;
      return { ...pod, pid: await processOf(mesh, "cni", node), log: await ComponentLog.open(mesh, "cni", node) };
    });
    return async (isIt) => {
      const where = new Map<string, string>();
      const read = (): boolean => {
        let isThere = false;
        for (const { message, pod, to } of log.next()) {
          if (message !== "pod" || typeof pod !== "string" || typeof to !== "string") continue;
          where.set(pod, to);
          isThere ||= isIt(pod, to);
        }
        return isThere;
      };
      await pollFor(`${node}'s daemon says so`, 15_000, read);
      process.kill(pid, "SIGKILL");
      await until(`${node}'s daemon is dead`, 5_000, () => !isAlive(pid));
      // What it wrote until it died.
      read();
      log.close();
      for (const phase of where.values()) died.set(phase, (died.get(phase) ?? 0) + 1);
      // A new pod instead of the kubelet's ever longer pauses between restarts of one container.
      await mesh.mustKubectl(["delete", "pod", metadata.name, "-n", systemNamespace, "--force", "--grace-period=0"]);
      await until(
        `another daemon on ${node}`,
        60_000,
        async () => (await podOf(mesh, "cni", node)).metadata.uid !== metadata.uid,
      );
      return `${node}: killed at ${[...where].map(([pod, phase]) => `${pod} ${phase}`).join(", ")}`;
    };
  }
});

/** As `until`, but every millisecond. */
async function pollFor(what: string, deadlineMs: number, probe: () => boolean): Promise<void> {
  const end = performance.now() + deadlineMs;
  while (!probe()) {
    if (performance.now() > end) throw new Error(`waited ${deadlineMs} ms in vain for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
