import assert from "node:assert/strict";
import { test } from "node:test";
import { parseProxyConfig } from "./proxy-config.ts";

test("F-013 the port for metrics is the mesh's statsPort, 15020 without one, and a mistake is named with its fix", () => {
  assert.deepEqual(parseProxyConfig(undefined), { statsPort: 15_020 });
  assert.deepEqual(parseProxyConfig("concurrency: 2\nproxyMetadata:\n  A: b\n"), { statsPort: 15_020 });
  assert.deepEqual(parseProxyConfig("{statsPort: 15090}"), { statsPort: 15_090 });
  for (const text of ["statsPort: 0", "statsPort: 65536", "statsPort: x", "statsPort: 1.5", "- 1", "{", "just text"]) {
    const refused = parseProxyConfig(text);
    assert.ok(typeof refused === "string");
    assert.match(refused, /write (?:it like|a number)/, text);
  }
});
