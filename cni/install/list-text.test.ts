import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { withEntry, withoutType } from "./list-text.ts";

const entry = { type: "ambient-cni", exclude_namespaces: ["kube-system"] };

const bridge = `{
  "cniVersion": "1.0.0", "name": "k8s",
  "plugins": [
    {
      "type": "bridge", "mtu": 1e3,
      "ipam": { "type": "host-local", "note": "a \\" and ] and }" }
    },
    { "type": "portmap", "capabilities": {"portMappings": true} }
  ],
  "zz": 12345678901234567890
}
`;

test("the entry goes behind the last plugin in the list's own style, and nothing else moves", () => {
  const chained = withEntry(bridge, entry);
  assert.equal(
    chained,
    bridge.replace(
      '{"portMappings": true} }\n',
      '{"portMappings": true} },\n    {\n      "type": "ambient-cni",\n      "exclude_namespaces": [\n        "kube-system"\n      ]\n    }\n',
    ),
  );
  assert.equal(withoutType(chained, "ambient-cni"), bridge);
});

test("a list on one line stays on one line", () => {
  const text = '{"name":"k","plugins":[{"type":"a"}]}';
  assert.equal(withEntry(text, { type: "b" }), '{"name":"k","plugins":[{"type":"a"},{"type":"b"}]}');
});

test("an entry is taken out wherever it stands, however often", () => {
  const text = '{"plugins":[ {"type":"x"}, {"type":"a"} ,{"type":"x"}, {"type":"b"}, {"type":"x"} ]}';
  assert.deepEqual(JSON.parse(withoutType(text, "x")), { plugins: [{ type: "a" }, { type: "b" }] });
  assert.equal(withoutType('{"plugins":[ {"type":"x"} ]}', "x"), '{"plugins":[  ]}');
});

test("of two lists the last counts, and a nested one doesn't", () => {
  const text = '{"plugins":[{"type":"a"}],"x":{"plugins":[{"type":"b"}]},"pl\\u0075gins":[{"type":"c"}]}';
  const chained = JSON.parse(withEntry(text, entry)) as { plugins: unknown };
  assert.deepEqual(chained.plugins, [{ type: "c" }, entry]);
});

test("in and out again gives the same bytes, whatever is in the list", () => {
  const plugin = fc.dictionary(fc.string(), fc.jsonValue()).map((fields) => ({ ...fields, type: "bridge" }));
  const document = fc.record({
    before: fc.jsonValue(),
    plugins: fc.array(plugin, { minLength: 1 }),
    after: fc.jsonValue(),
  });
  const space = fc.constantFrom(undefined, 1, 2, 4, "\t", " \t");
  fc.assert(
    fc.property(document, space, fc.boolean(), (value, indent, crlf) => {
      const text = JSON.stringify(value, undefined, indent).replaceAll("\n", crlf ? "\r\n" : "\n");
      const chained = withEntry(text, entry);
      assert.deepEqual((JSON.parse(chained) as { plugins: unknown[] }).plugins, [
        ...(JSON.parse(text) as typeof value).plugins,
        entry,
      ]);
      assert.equal(withoutType(chained, "ambient-cni"), text);
    }),
  );
});
