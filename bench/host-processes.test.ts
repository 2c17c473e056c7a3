import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { hostPids, innermostPid, programsBelow } from "./host-processes.ts";

const stat = (pid: number, parent: number, name: string) => ({ pid, parent, name, state: "S", startTime: 0n });

test("what a process is called where it lives is the last of its numbers", () => {
  assert.equal(innermostPid("Name:\tnode\nNSpid:\t41001\t17\t1\nNSpgid:\t1\n"), 1);
  assert.equal(innermostPid("NSpid:\t41001\n"), 41_001);
  assert.equal(innermostPid("Name:\tnode\n"), undefined);
});

test("a command's programs are found through those that lead to them, in whatever order processes are listed", () => {
  const all = [
    stat(9, 8, "haproxy"),
    stat(8, 7, "setpriv"),
    stat(7, 1, "nsenter"),
    stat(10, 9, "haproxy"),
    stat(11, 1, "haproxy"),
  ];
  assert.deepEqual(programsBelow(7, all), [9, 10]);
  assert.deepEqual(programsBelow(11, all), [11]);
});

test("processes of this namespace are called what they are called", () => {
  assert.equal(hostPids(process.pid).get(process.pid), process.pid);
});

const unshare = ["--pid", "--fork", "--kill-child=KILL"];
const mayUnshare = spawnSync("unshare", [...unshare, "true"]).status === 0;

test(
  "a process of another namespace is found by its number there",
  { skip: mayUnshare ? false : "needs root" },
  async (t) => {
    const child = spawn("unshare", [...unshare, "sh", "-c", "echo up; read line"]);
    t.after(async () => {
      child.kill("SIGKILL");
      await once(child, "close");
    });
    await once(child.stdout, "data");
    const [inside = 0] = programsBelow(child.pid ?? 0).filter((pid) => pid !== child.pid);
    assert.notEqual(inside, 0);
    assert.deepEqual(hostPids(inside), new Map([[1, inside]]));
  },
);
