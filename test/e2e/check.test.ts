/** `npm start -- --check` as a person types it: it holds, and it fails by name when a part is broken. As root, and as an ordinary user. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { chownSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { parts } from "../../lab/check/parts.ts";
import { checkoutRoot } from "../../lab/programs.ts";

interface Result {
  readonly code: number | null;
  readonly output: string;
}

const isRoot = process.getuid?.() === 0;
const nobody = 65_534;
const home = mkdtempSync(join(tmpdir(), "ambientd-home-"));
if (isRoot) chownSync(home, nobody, nobody);
after(() => rmSync(home, { recursive: true, force: true }));

test("--check holds as the user that runs the tests", async (t) => {
  const { code, output } = await npmStart(["--check"]);
  assert.equal(code, 0, output);
  assert.match(output, /All \d+ held/);
  t.diagnostic(/All \d+ held/.exec(output)?.[0] ?? "");
});

test(
  "--check holds as an ordinary user",
  { skip: isRoot ? false : "this user is ordinary already: see above" },
  async () => {
    const { code, output } = await npmStart(["--check"], { ordinary: true });
    assert.equal(code, 0, output);
  },
);

test("--json says the same to a machine", async () => {
  const { code, output } = await npmStart(["--check", "--json"], { ordinary: isRoot });
  assert.equal(code, 0, output);
  const line = output.split("\n").find((text) => text.startsWith("{"));
  const { result, assertions } = JSON.parse(line ?? "{}") as { result: string; assertions: { held: boolean }[] };
  assert.equal(result, "held");
  assert.ok(assertions.length > 10 && assertions.every(({ held }) => held));
});

for (const part of parts)
  test(`--break ${part} fails, and names it`, async () => {
    const { code, output } = await npmStart(["--check", "--break", part]);
    assert.equal(code, 1, output);
    assert.match(output, new RegExp(`^FAIL +${part}: `, "m"));
    assert.match(output, new RegExp(`^Failed: .*\\b${part}\\b`, "m"));
  });

test("a part that doesn't exist is named, with those that do, and nothing is run", async () => {
  const { code, output } = await npmStart(["--check", "--break", "everything"]);
  assert.equal(code, 2, output);
  assert.match(output, /everything/);
  assert.match(output, /redirect, mtls, policy, identity, source/);
});

test(
  "a user who may have no namespaces is told what to do, in one sentence",
  { skip: isRoot ? false : "taking rights away needs root" },
  async () => {
    const { code, output } = await npmStart(["--check"], { ordinary: true, forbidNamespaces: true });
    assert.equal(code, 2, output);
    assert.match(output, /namespaces/);
    assert.match(output, /sudo/);
  },
);

/** The whole way through npm. An ordinary user sees the checkout under /mnt, whoever owns the folders above it. */
async function npmStart(
  flags: readonly string[],
  how: { ordinary?: boolean; forbidNamespaces?: boolean } = {},
): Promise<Result> {
  const npm = ["npm", "start", "--", ...flags];
  const argv = how.ordinary === true ? asNobody(npm, how.forbidNamespaces === true) : npm;
  const [program = "", ...rest] = argv;
  const cwd = how.ordinary === true ? "/" : checkoutRoot;
  const child = spawn(program, rest, {
    cwd,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...(how.ordinary === true && { HOME: home }) },
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, output };
}

function asNobody(argv: readonly string[], forbidNamespaces: boolean): string[] {
  const setUser = `exec setpriv --reuid=${nobody} --regid=${nobody} --clear-groups --inh-caps=-all`;
  // Inside a user namespace of one's own the number of further ones can be set to none.
  const inNamespace = `unshare --user --map-user=${nobody} --map-group=${nobody} --keep-caps`;
  const setLimit = `echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --ambient-caps=-all --inh-caps=-all "$@"`;
  const forbid = forbidNamespaces ? `${inNamespace} sh -c '${setLimit}' sh` : "";
  const script = `mount --bind "$0" /mnt && cd /mnt && ${setUser} ${forbid} "$@"`;
  return ["unshare", "--mount", "--", "sh", "-c", script, checkoutRoot, ...argv];
}
