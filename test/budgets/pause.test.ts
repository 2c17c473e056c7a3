import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import { enterNamespaces } from "../support/namespaced.ts";

const skip = enterNamespaces() ?? false;

test(
  "a whole collection while nothing is open leaves the code that serves connections as it is",
  { skip },
  async (t) => {
    const child = spawn(process.execPath, [join(import.meta.dirname, "pause.ts")], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    await once(child, "close");
    assert.match(text, /^collected$/m);
    const marked = [...text.matchAll(/marking dependent code .*?<SharedFunctionInfo ([^>]*)>.*for deoptimization/g)];
    const names = marked.map(([, name = ""]) => name).filter((name) => !testsOwn.test(name));
    t.diagnostic(`thrown away: ${names.join(", ") || "nothing"}`);
    // 142 where no specimens are kept (core/base/specimens.ts).
    assert.ok(names.length <= 20, names.join("\n"));
  },
);

/** The authority of the test's certificates. */
const testsOwn = /ByteStringBuffer|asn1/;
