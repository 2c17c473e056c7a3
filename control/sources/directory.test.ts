import assert from "node:assert/strict";
import fs, { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { ManualClock, systemClock, type Clock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import { until } from "../../test/support/until.ts";
import { DirectorySource } from "./directory.ts";
import type { ObjectDelta, SourceProblem } from "./source.ts";

const pod = { kind: "Pod", namespace: "shop", name: "cart" } as const;

test("a malformed field names file, line and field, and the other documents still apply", (t) => {
  const folder = new Folder(t);
  folder.write("shop.yaml", [podYaml("cart"), brokenPolicy("DENY"), podYaml("web")].join("---\n"));
  const source = folder.open();
  assert.deepEqual(names(source), ["AuthorizationPolicy/shop/gate", "Pod/shop/cart", "Pod/shop/web"]);
  const [problem] = source.problems();
  assert.deepEqual(
    { ...problem, message: "" },
    {
      level: "error",
      code: "source.field",
      file: join(folder.manifests, "shop.yaml"),
      line: 15,
      field: "spec.rules[0].form",
      message: "",
      ref: { kind: "AuthorizationPolicy", namespace: "shop", name: "gate" },
    },
  );
  assert.match(problem?.message ?? "", /is not a field here; known are from, to, when/);
});

test("what is written while it looks for the first time is noticed", async (t) => {
  const folder = new Folder(t, systemClock);
  const names = t.mock.method(fs, "readdirSync");
  const write = (path: string): string[] => {
    const seen = readdirSync(path);
    folder.write("late.yaml", podYaml("late"));
    return seen;
  };
  names.mock.mockImplementationOnce(write as typeof readdirSync);
  syncBuiltinESMExports();
  const source = folder.open();
  names.mock.restore();
  syncBuiltinESMExports();
  await until("it is there", 5_000, () => source.list().get("Pod", "shop", "late") !== undefined);
});

test("an update that cannot be understood leaves the last good version in force, and says so", (t) => {
  const folder = new Folder(t);
  folder.write("gate.yaml", goodPolicy("DENY"));
  const source = folder.open();
  const good = source.list().get("AuthorizationPolicy", "shop", "gate");
  folder.write("gate.yaml", brokenPolicy("DENY"));
  folder.settle();
  const now = source.list().get("AuthorizationPolicy", "shop", "gate");
  assert.deepEqual(now?.spec, good?.spec);
  assert.equal(now?.faults.length, 1);
  assert.match(messages(source), /the last good version stays in force/);

  folder.write("gate.yaml", goodPolicy("DENY"));
  folder.settle();
  assert.deepEqual(source.list().get("AuthorizationPolicy", "shop", "gate"), good);
  assert.deepEqual(source.problems(), []);
});

test("a policy that never was good denies all it selects as a DENY, and matches nothing as an ALLOW", (t) => {
  const folder = new Folder(t);
  folder.write("deny.yaml", brokenPolicy("DENY").replace("gate", "deny"));
  folder.write("allow.yaml", brokenPolicy("ALLOW").replace("gate", "allow"));
  folder.write("typo.yaml", brokenPolicy("DENI").replace("gate", "typo"));
  const source = folder.open();
  const spec = (name: string) => source.list().get("AuthorizationPolicy", "shop", name)?.spec;
  const selector = { app: "cart" };
  assert.deepEqual(spec("deny"), { selector, targetRefs: [], action: "DENY", rules: "unusable" });
  assert.deepEqual(spec("allow"), { selector, targetRefs: [], action: "ALLOW", rules: "unusable" });
  // Whether it allows or denies is not known: denying is the safe reading.
  assert.deepEqual(spec("typo"), { selector, targetRefs: [], action: "DENY", rules: "unusable" });
  assert.match(messages(source), /allow.yaml.*it matches nothing/);
  assert.match(messages(source), /deny.yaml.*it denies everything it selects/);
});

test("a PeerAuthentication that never was good demands mutual TLS", (t) => {
  const folder = new Folder(t);
  folder.write(
    "peer.yaml",
    "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p, namespace: shop}\nspec:\n  mtls: {mode: STRICTT}\n",
  );
  const source = folder.open();
  assert.equal(source.list().get("PeerAuthentication", "shop", "p")?.spec.mode, "STRICT");
  assert.equal(source.problems()[0]?.field, "spec.mtls.mode");
});

test("a syntax error takes nothing away that the file declared before", (t) => {
  const folder = new Folder(t);
  folder.write("a.yaml", [podYaml("cart"), podYaml("web")].join("---\n"));
  const source = folder.open();
  folder.write("a.yaml", [podYaml("cart"), "kind: [Pod\n  name\n", podYaml("new")].join("---\n"));
  folder.settle();
  assert.deepEqual(names(source), ["Pod/shop/cart", "Pod/shop/new", "Pod/shop/web"]);
  const [problem] = source.problems();
  assert.equal(problem?.code, "source.syntax");
  assert.equal(problem?.line, 11);
  // Here the broken document runs on into the next one.
  folder.write("a.yaml", [podYaml("cart"), "kind: [Pod\n  name", podYaml("new")].join("---\n"));
  folder.settle();
  assert.deepEqual(names(source), ["Pod/shop/cart", "Pod/shop/new", "Pod/shop/web"]);
});

test("a document whose text is broken is recognised by what can be read of it", (t) => {
  const folder = new Folder(t);
  folder.write("gate.yaml", `${goodPolicy("DENY")}  rules: []\n`); // the key is there already
  const source = folder.open();
  assert.equal(source.list().get("AuthorizationPolicy", "shop", "gate")?.spec.rules, "unusable");
  assert.match(messages(source), /gate.yaml:14: .*unique.*denies everything/);
});

test("an unknown kind is ignored with one note, however many there are", (t) => {
  const folder = new Folder(t);
  const other = (name: string) => `apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: ${name}}\n`;
  folder.write("a.yaml", [other("a"), other("b"), podYaml("cart")].join("---\n"));
  folder.write("b.yaml", other("c"));
  const source = folder.open();
  assert.deepEqual(names(source), ["Pod/shop/cart"]);
  assert.deepEqual(
    source.problems().map(({ level, line, message }) => ({ level, line, message })),
    [{ level: "note", line: 2, message: "objects of kind apps/v1 Deployment are not used here and ignored" }],
  );
});

test("a kind of another API group is not mistaken for ours", (t) => {
  const folder = new Folder(t);
  folder.write("a.yaml", "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: a}\n");
  assert.equal(folder.open().problems()[0]?.code, "source.unknown-kind");
});

test("a file that is still being written counts only once it is whole", (t) => {
  const folder = new Folder(t);
  folder.write("a.yaml", podYaml("cart"));
  const source = folder.open();
  const deltas = collect(source);
  const whole = [podYaml("cart"), podYaml("web")].join("---\n");
  folder.write("a.yaml", "");
  folder.clock.advance(4_700); // the look at everything that open() left the clock before
  folder.clock.advance(40);
  folder.write("a.yaml", whole.slice(0, 60));
  folder.clock.advance(40);
  folder.write("a.yaml", whole);
  folder.settle();
  assert.deepEqual(
    deltas.map(({ op, object }) => [op, object.metadata.name]),
    [["put", "web"]],
  );
});

test("a file replaced by renaming another over it is one change", (t) => {
  const folder = new Folder(t);
  folder.write("a.yaml", podYaml("cart"));
  const source = folder.open();
  const deltas = collect(source);
  folder.write(".a.yaml.swp", podYaml("web"));
  renameSync(join(folder.manifests, ".a.yaml.swp"), join(folder.manifests, "a.yaml"));
  folder.settle();
  assert.deepEqual(deltas.map(({ op, object }) => `${op} ${object.metadata.name}`).sort(), ["put web", "removed cart"]);
});

test("a file that is gone takes its objects along, a folder that is gone does not", (t) => {
  const folder = new Folder(t);
  folder.write("a.yaml", podYaml("cart"));
  folder.write("b.yaml", podYaml("web"));
  const source = folder.open();
  folder.remove("a.yaml");
  folder.settle();
  assert.deepEqual(names(source), ["Pod/shop/web"]);
  renameSync(folder.manifests, `${folder.manifests}.away`);
  folder.settle();
  assert.deepEqual(names(source), ["Pod/shop/web"]);
  assert.equal(source.problems()[0]?.code, "source.unreadable");
});

test("what was rewritten without a difference is no news", (t) => {
  const folder = new Folder(t);
  folder.write("a.yaml", podYaml("cart"));
  const source = folder.open();
  const deltas = collect(source);
  folder.write("a.yaml", `# a comment\n${podYaml("cart")}`);
  folder.settle();
  assert.deepEqual(deltas, []);
});

test("the same object in two files counts once, and the second file is told", (t) => {
  const folder = new Folder(t);
  folder.write("a.yaml", podYaml("cart"));
  folder.write("b.yaml", podYaml("cart").replace("nodeName: node1", "nodeName: node2"));
  const source = folder.open();
  assert.equal(source.list().get("Pod", "shop", "cart")?.spec.nodeName, "node1");
  assert.match(messages(source), /b.yaml:4: metadata.name Pod\/shop\/cart is declared in .*a.yaml already/);
  folder.remove("a.yaml");
  folder.settle();
  assert.equal(source.list().get("Pod", "shop", "cart")?.spec.nodeName, "node2");
});

test("a status written by one process is seen by another, merged in order of writer", async (t) => {
  const folder = new Folder(t);
  folder.write("a.yaml", podYaml("cart"));
  const [lab, cni, reader] = [folder.open(), folder.open(), folder.open()];
  await lab.writeStatus(pod, "lab", { status: { phase: "Running", podIP: "10.0.0.1" } });
  await cni.writeStatus(pod, "cni", { metadata: { annotations: { captured: "yes" } }, status: { phase: "Odd" } });
  await lab.writeStatus(pod, "lab", { status: { hostIP: "172.30.1.2" } });
  folder.settle();
  const seen = reader.list().get("Pod", "shop", "cart");
  assert.deepEqual(seen?.status, { phase: "Running", podIPs: ["10.0.0.1"], conditions: [], hostIP: "172.30.1.2" });
  assert.deepEqual(seen?.metadata.annotations, { note: "kept", captured: "yes" });

  await cni.writeStatus(pod, "cni", { metadata: { annotations: { captured: null, note: null } } });
  folder.settle();
  assert.deepEqual(reader.list().get("Pod", "shop", "cart")?.metadata.annotations, {});

  await cni.writeStatus(pod, "cni", null);
  await lab.writeStatus(pod, "lab", null);
  folder.settle();
  assert.deepEqual(reader.list().get("Pod", "shop", "cart")?.status.podIPs, []);
  assert.deepEqual(reader.list().get("Pod", "shop", "cart")?.metadata.annotations, { note: "kept" });
  assert.deepEqual(readdirSync(folder.status), []);
});

test("writing what already stands touches nothing, also in another life of the writer", async (t) => {
  const folder = new Folder(t);
  folder.write("a.yaml", podYaml("cart"));
  const patch = { status: { phase: "Running" } };
  await folder.open().writeStatus(pod, "lab", patch);
  const source = folder.open();
  const deltas = collect(source);
  assert.equal(await source.writeStatus(pod, "lab", patch), undefined);
  assert.deepEqual(deltas, []);
});

test("a subscriber that writes a status does not overtake the change that made it write", (t) => {
  const folder = new Folder(t);
  const source = folder.open();
  const phases: string[] = [];
  const note = (deltas: readonly ObjectDelta[]) => {
    for (const { object } of deltas) if (object.kind === "Pod") phases.push(object.status.phase);
  };
  source.subscribe(() => void source.writeStatus(pod, "lab", { status: { phase: "Running" } }));
  source.subscribe(note);
  folder.write("a.yaml", podYaml("cart"));
  folder.settle();
  assert.deepEqual(phases, ["Pending", "Running"]);
});

test("a snapshot stays as it was taken", (t) => {
  const folder = new Folder(t);
  folder.write("a.yaml", podYaml("cart"));
  const source = folder.open();
  const before = source.list();
  folder.write("b.yaml", podYaml("web"));
  folder.settle();
  assert.equal(before.all("Pod").length, 1);
  assert.deepEqual(
    source
      .list()
      .all("Pod")
      .map(({ metadata }) => metadata.name),
    ["cart", "web"],
  );
});

test("a status file nobody can read does not undo the manifest", (t) => {
  const folder = new Folder(t);
  folder.write("a.yaml", podYaml("cart"));
  const source = folder.open();
  writeFileSync(join(folder.status, "Pod.shop.cart.lab.json"), '{"status":{"podIP":"nonsense"}}');
  writeFileSync(join(folder.status, "Pod.shop.cart.cni.json"), "{half");
  folder.settle();
  assert.deepEqual(names(source), ["Pod/shop/cart"]);
  assert.deepEqual(
    source.problems().map(({ code }) => code),
    ["source.overlay", "source.overlay"],
  );
});

test("a status of an object that is not declared waits for it", async (t) => {
  const folder = new Folder(t);
  const source = folder.open();
  await source.writeStatus(pod, "lab", { status: { phase: "Running" } });
  assert.deepEqual(names(source), []);
  folder.write("a.yaml", podYaml("cart"));
  folder.settle();
  assert.equal(source.list().get("Pod", "shop", "cart")?.status.phase, "Running");
});

test("a status that cannot be written is an error with the file in it", async (t) => {
  const folder = new Folder(t);
  folder.write("a.yaml", podYaml("cart"));
  const source = folder.open();
  rmSync(folder.status, { recursive: true });
  writeFileSync(folder.status, "in the way");
  const error = await source.writeStatus(pod, "lab", { status: {} });
  assert.equal(error?.type.code, "source.write-status");
});

test("an object without a uid has the same one for everybody, and another one than its namesake", (t) => {
  const folder = new Folder(t);
  folder.write("a.yaml", [podYaml("cart"), podYaml("cart").replace("shop", "vault")].join("---\n"));
  const uid = (source: DirectorySource, namespace: string) => source.list().get("Pod", namespace, "cart")?.metadata.uid;
  const [first, second] = [folder.open(), folder.open()];
  assert.match(uid(first, "shop") ?? "", /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(uid(first, "shop"), uid(second, "shop"));
  assert.notEqual(uid(first, "shop"), uid(first, "vault"));
});

test("an empty folder is in sync at once", async (t) => {
  const source = new Folder(t).open();
  await source.synced;
  assert.deepEqual(names(source), []);
});

test("changes are noticed without waiting for the next look at everything", async (t) => {
  const folder = new Folder(t, systemClock);
  folder.write("a.yaml", podYaml("cart"));
  const source = folder.open();
  await source.synced;
  assert.deepEqual(names(source), ["Pod/shop/cart"]);
  folder.write("b.yaml", podYaml("web"));
  await until("the second pod", 5_000, () => names(source).length === 2);
  const other = folder.open();
  await other.synced;
  await other.writeStatus(pod, "lab", { status: { phase: "Running" } });
  await until("the status", 5_000, () => source.list().get("Pod", "shop", "cart")?.status.phase === "Running");
});

/** Two folders of one test's own, and a clock that makes every source look at them. */
class Folder {
  readonly manifests: string;
  readonly status: string;
  readonly clock = new ManualClock();
  readonly #clock: Clock;
  readonly #test: TestContext;

  constructor(t: TestContext, clock?: Clock) {
    const root = mkdtempSync(join(tmpdir(), "ambientd-source-"));
    t.after(() => rmSync(root, { recursive: true, force: true }));
    this.#test = t;
    this.#clock = clock ?? this.clock;
    this.manifests = join(root, "manifests");
    this.status = join(root, "status");
    mkdirSync(this.manifests);
    mkdirSync(this.status);
  }

  open(): DirectorySource {
    const { manifests, status } = this;
    // Where the clock is the machine's, only the kernel's notices can be in time.
    const rescanMs = this.#clock === this.clock ? 5_000 : 3_600_000;
    const source = new DirectorySource({ manifests, status, log: silentLog, clock: this.#clock, rescanMs });
    this.#test.after(() => source.close());
    for (let look = 0; look < 6; look++) this.clock.advance(50);
    return source;
  }

  write(name: string, text: string): void {
    writeFileSync(join(this.manifests, name), text);
  }

  remove(name: string): void {
    rmSync(join(this.manifests, name));
  }

  /** Long enough for a look at everything and for what it found to settle. */
  settle(): void {
    for (const ms of [4_700, 50, 50, 50, 50, 50, 50]) this.clock.advance(ms);
  }
}

function names(source: DirectorySource): string[] {
  return [...source.list().objects()]
    .map(({ kind, metadata }) => `${kind}/${metadata.namespace}/${metadata.name}`)
    .sort();
}

function messages(source: DirectorySource): string {
  return source
    .problems()
    .map(({ file, line, field, message }: SourceProblem) => `${file}:${line}: ${field} ${message}`.replace(":  ", ": "))
    .join("\n");
}

function collect(source: DirectorySource): ObjectDelta[] {
  const deltas: ObjectDelta[] = [];
  source.subscribe((batch) => deltas.push(...batch));
  return deltas;
}

function podYaml(name: string): string {
  return `apiVersion: v1
kind: Pod
metadata:
  name: ${name}
  namespace: shop
  annotations: {note: kept}
spec:
  nodeName: node1
`;
}

function goodPolicy(action: string): string {
  return policyYaml(action, "from");
}

function brokenPolicy(action: string): string {
  return policyYaml(action, "form");
}

function policyYaml(action: string, from: string): string {
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: gate, namespace: shop}
spec:
  rules:
    - ${from}: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]
      to:
        - operation:
            ports: ["80"]
  action: ${action}
  selector:
    matchLabels:
      app: cart
`;
}
