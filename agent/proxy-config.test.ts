import assert from "node:assert/strict";
import { test } from "node:test";
import { parseProxyConfig } from "./proxy-config.ts";

const usual = { statsPort: 15_020, adminPort: 15_000, metadata: {} };

test("F-013 the port for metrics is the mesh's statsPort, 15020 without one, and a mistake is named with its fix", () => {
  assert.deepEqual(parseProxyConfig(undefined), usual);
  assert.deepEqual(parseProxyConfig("{statsPort: 15090}"), { ...usual, statsPort: 15_090 });
  for (const text of ["statsPort: 0", "statsPort: 65536", "statsPort: x", "statsPort: 1.5", "- 1", "{", "just text"]) {
    const refused = parseProxyConfig(text);
    assert.ok(typeof refused === "string");
    assert.match(refused, /write (?:it like|a number)/, text);
  }
});

test("F-124 the mesh's file counts first and PROXY_CONFIG over it, key by key and metadatum by metadatum", () => {
  const mesh = `
defaultConfig:
  discoveryAddress: istiod.example:15012
  concurrency: 4
  statsPort: 15090
  proxyMetadata: {ISTIO_META_A: file, ISTIO_META_B: file}
trustDomain: ignored
`;
  const config = parseProxyConfig("concurrency: 0\nproxyMetadata: {ISTIO_META_B: 7}\nholdApplication: true\n", mesh);
  assert.deepEqual(config, {
    statsPort: 15_090,
    adminPort: 15_000,
    discoveryAddress: "istiod.example:15012",
    concurrency: 0,
    metadata: { ISTIO_META_A: "file", ISTIO_META_B: "7" },
  });
  for (const [text, file] of [
    ["concurrency: many", ""],
    ["discoveryAddress: 7", ""],
    ["proxyMetadata: [1]", ""],
    ["", "defaultConfig: 5"],
    ["", "["],
  ]) {
    const refused = parseProxyConfig(text, file);
    assert.ok(typeof refused === "string");
    assert.match(refused, /write (?:it like|a number)/, `${text} ${file}`);
  }
});
