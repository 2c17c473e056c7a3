import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { silentLog } from "../core/base/log.ts";
import { MeshState } from "../core/decision/mesh-state.ts";
import { formatIdentity, type Identity } from "../core/protocol/spiffe/identity.ts";
import { CertificateError } from "../control/client/certificates/certificate.ts";
import type { CertificateManager, FetchPriority } from "../control/client/certificates/manager.ts";
import { pod } from "../test/support/mesh.ts";
import { WorkloadCertificates } from "./workload-certificates.ts";

let state: MeshState;
let asked: [string, FetchPriority | undefined][];
let forgotten: string[];
let certificates: WorkloadCertificates;

beforeEach(() => {
  [state, asked, forgotten] = [new MeshState(), [], []];
  const manager: Pick<CertificateManager, "certificate" | "forget" | "onChange"> = {
    certificate(identity: Identity, priority?: FetchPriority) {
      asked.push([formatIdentity(identity), priority]);
      const uri = formatIdentity(identity);
      return Promise.resolve(new CertificateError({ code: "certificate.forgotten", identity: uri }));
    },
    forget: (identity: Identity) => void forgotten.push(formatIdentity(identity)),
    onChange: () => () => {},
  };
  certificates = new WorkloadCertificates({
    manager: manager as CertificateManager,
    mesh: {
      local: () => [...state.workloads()].filter(({ node }) => node === "node1"),
      workloadOf: (...pod) => state.workloadOf(...pod),
    },
    broadcast: () => {},
    log: silentLog,
  });
});

test("F-137 what control says will run here is asked for before anybody needs it, and of other nodes nothing is", () => {
  state.apply({
    workloads: [
      pod("shop/web", "10.0.0.1"),
      pod("shop/second", "10.0.0.2", { serviceAccount: "web" }),
      pod("shop/away", "10.0.0.3", { node: "node2" }),
      pod("shop/plain", "10.0.0.4", { tunnel: "tcp" }),
    ],
  });
  certificates.update([]);
  assert.deepEqual(asked, [[uri("web"), "warmup"]]);
  certificates.update([]);
  assert.equal(asked.length, 1, "once");
});

test("F-136 a pod that is served goes before those that only will be, and one that waits is asked for at once", () => {
  state.apply({ workloads: [pod("shop/web", "10.0.0.1"), pod("shop/api", "10.0.0.2")] });
  certificates.update([{ namespace: "shop", name: "api", serviceAccount: "api" }]);
  assert.deepEqual(asked, [
    [uri("api"), "realtime"],
    [uri("web"), "warmup"],
  ]);
  certificates.wanted({ trustDomain: "cluster.local", namespace: "shop", serviceAccount: "web" });
  assert.deepEqual(asked.at(-1), [uri("web"), "realtime"]);
  certificates.wanted({ trustDomain: "cluster.local", namespace: "shop", serviceAccount: "stranger" });
  assert.equal(asked.length, 3, "nobody here has that identity");
});

test("F-138 an identity is forgotten with the last pod of this node that has it", () => {
  state.apply({ workloads: [pod("shop/web", "10.0.0.1"), pod("shop/second", "10.0.0.2", { serviceAccount: "web" })] });
  certificates.update([]);
  state.apply({ removed: { addresses: ["Kubernetes//Pod/shop/web"] } });
  certificates.update([]);
  assert.deepEqual(forgotten, []);
  state.apply({ removed: { addresses: ["Kubernetes//Pod/shop/second"] } });
  certificates.update([]);
  assert.deepEqual(forgotten, [uri("web")]);
});

function uri(account: string): string {
  return `spiffe://cluster.local/ns/shop/sa/${account}`;
}
