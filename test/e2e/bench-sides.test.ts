/** The scene of a bench: sides that can be compared, or say why not. What passes them is one connection; what it costs is `npm run bench`. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { openScene, type Scene } from "../../bench/scene.ts";
import { passEcho } from "../../bench/sides/echo.ts";
import type { AbsentSide, RunningSide, SideName } from "../../bench/side.ts";
import { Refused } from "../../lab/refusals.ts";
import { checkoutRoot } from "../../lab/programs.ts";

const names: readonly SideName[] = ["direct", "ours", "haproxy", "envoy", "external"];
/** Our own agent by the contract of another one's: bench/README.md. */
const external = `PROXY_MODE=dedicated PROXY_WORKLOAD_INFO=$BENCH_NAMESPACE/$BENCH_POD/$BENCH_SERVICE_ACCOUNT LOCAL_XDS_PATH=$BENCH_MESH \
XDS_ADDRESS= CA_ADDRESS= NODE_ENV=test FAKE_CA=true AMBIENTD_FAKE_CA_DIR=$BENCH_AUTHORITY PACKET_MARK=$BENCH_MARK \
ZTUNNEL_WORKER_THREADS=1 exec node ${join(checkoutRoot, "bin/ambientd.ts")} agent`;

let scene: Scene | undefined;
let sides: readonly (RunningSide | AbsentSide)[] = [];
let refusal: string | undefined;

before(async () => {
  try {
    scene = await openScene({ names, workers: 1, external });
    sides = await scene.sides(names);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    refusal = error.message;
  }
});
beforeEach((t) => {
  if (refusal !== undefined && "skip" in t) t.skip(refusal);
});
after(() => scene?.close());

for (const name of names) {
  test(`one connection passes ${name} under the client's own address, and the processes in between are known`, async (t) => {
    const side = sides.find((one) => one.name === name);
    assert.ok(side !== undefined);
    if ("absent" in side) {
      assert.ok(name !== "direct" && name !== "ours", side.absent);
      return t.skip(side.absent);
    }
    assert.equal(await passEcho(side.client, side.server, 5201), undefined);
    const { atClient, atServer } = await side.proxies();
    const program = { direct: undefined, ours: /ambientd/, haproxy: /haproxy/, envoy: /envoy/, external: /ambientd/ }[
      name
    ];
    for (const pids of [atClient, atServer]) {
      assert.equal(pids.length > 0, program !== undefined);
      const lines = pids.map((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8"));
      if (program !== undefined)
        assert.ok(
          lines.some((line) => program.test(line)),
          lines.join(", "),
        );
    }
    assert.deepEqual(
      atClient.filter((pid) => atServer.includes(pid)),
      [],
    );
  });
}

test("what the kernel says in a pod is what it says of that pod's namespace", async () => {
  const [direct, ours] = sides;
  assert.ok(direct !== undefined && !("absent" in direct) && ours !== undefined && !("absent" in ours));
  // Listening sockets of the agent, which are in the pod of ours alone.
  assert.match(await ours.client.readProc("/proc/net/tcp6"), /:3A99 /);
  assert.doesNotMatch(await direct.client.readProc("/proc/net/tcp6"), /:3A99 /);
});
