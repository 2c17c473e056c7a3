import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { systemClock } from "../core/base/clock.ts";
import { silentLog } from "../core/base/log.ts";
import { setUp } from "../core/linux/netlink/links.ts";
import { enterNamespaces } from "../test/support/namespaced.ts";
import { until } from "../test/support/until.ts";
import { AdminServer, type AdminHandlers } from "./admin/server.ts";
import { Takeover } from "./takeover.ts";
import { ReadinessServer } from "./worker/readiness-server.ts";

const skip = enterNamespaces() ?? false;
const folder = mkdtempSync(join(tmpdir(), "takeover-"));
after(() => rmSync(folder, { recursive: true }));

test(
  "F-012 F-014 F-227 an agent gives its ports to the next one of its namespace when that one serves, and not before",
  { skip },
  async () => {
    await setUp("lo");
    const path = join(folder, "admin.sock");
    const older: AdminServer = admin("older", () => {
      older.close();
      olderReady.close();
    });
    const newer: AdminServer = admin("newer", () => {});
    const failures: string[] = [];
    const olderReady = new ReadinessServer({ port: 15_021, address: "127.0.0.1" }, () => {});
    olderReady.gates = [];
    const places = (server: AdminServer): { name: string; listen: () => ReturnType<AdminServer["listenAt"]> }[] => [
      { name: "local", listen: () => server.listenLocally() },
      { name: "socket", listen: () => server.listenAt(path) },
    ];
    const first = new Takeover(systemClock, silentLog);
    for (const place of places(older)) assert.equal(await first.have(place), undefined);
    await first.serving();
    await until("readiness", 5_000, async () => (await get(15_021, "/healthz/ready")) === "ready\n");
    const second = new Takeover(systemClock, silentLog);
    for (const place of places(newer)) assert.match((await second.have(place)) ?? "", /another agent/);
    const newerReady = new ReadinessServer({ port: 15_021, address: "127.0.0.1" }, ({ message }) =>
      failures.push(message),
    );
    newerReady.gates = [{ name: "proxy", pending: "newer" }];
    await until("the newer one was told", 5_000, () => failures.length > 0);
    assert.equal(await get(15_000, "/logging", "POST"), "current log level is older\n");
    await second.serving();
    await until("the port is the newer one's", 5_000, async () =>
      (await get(15_000, "/logging", "POST")).includes("newer"),
    );
    await until("readiness, too", 5_000, async () => (await get(15_021, "/healthz/ready")).includes("newer"));
    await until("and the socket", 5_000, () => existsSync(path));
    assert.equal(failures.length, 1, "said once");
    second.close();
    newer.close();
    newerReady.close();
  },
);

test("whoever is not asked keeps its ports", { skip }, async () => {
  const holder = admin("holder", () => assert.fail("not asked"));
  assert.equal(await holder.listenLocally(), undefined);
  const other = new Takeover(systemClock, silentLog);
  const late = admin("late", () => {});
  assert.ok((await other.have({ name: "local", listen: () => late.listenLocally() })) !== undefined);
  other.close();
  await other.serving();
  assert.equal(await get(15_000, "/logging", "POST"), "current log level is holder\n");
  assert.equal(await get(15_000, "/yield"), "only POST\n");
  holder.close();
});

function admin(name: string, yielded: () => void): AdminServer {
  const handlers: Partial<AdminHandlers> = { logLevel: () => name, yield: yielded };
  return new AdminServer(handlers as AdminHandlers, silentLog);
}

async function get(port: number, path: string, method = "GET"): Promise<string> {
  try {
    return await (await fetch(`http://127.0.0.1:${port}${path}`, { method, headers: { connection: "close" } })).text();
  } catch {
    return "no answer";
  }
}
