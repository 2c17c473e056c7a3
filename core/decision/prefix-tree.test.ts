import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { cidr } from "../../test/support/mesh.ts";
import { formatIp, inPrefix, parseIp } from "../base/ip.ts";
import { PrefixTree } from "./prefix-tree.ts";

test("B15 an address is covered by its prefixes, shortest first, and by none of the other family", () => {
  const tree = new PrefixTree<string>();
  for (const text of ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "0.0.0.0/0", "11.0.0.0/8", "fd00::/8"])
    tree.update(cidr(text), () => text);
  assert.deepEqual(tree.covering("10.1.2.3"), [
    { value: "0.0.0.0/0", length: 0 },
    { value: "10.0.0.0/8", length: 8 },
    { value: "10.1.0.0/16", length: 16 },
    { value: "10.1.2.3/32", length: 32 },
  ]);
  assert.deepEqual(tree.covering("fd12::1"), [{ value: "fd00::/8", length: 8 }]);
  assert.deepEqual(tree.covering("no address"), []);
});

test("any prefixes, added and removed, cover what comparing bits says", () => {
  const anyPrefix = fc.oneof(
    fc.record({
      prefix: fc.uint8Array({ minLength: 4, maxLength: 4 }).map(narrow),
      length: fc.integer({ min: 0, max: 32 }),
    }),
    fc.record({
      prefix: fc.uint8Array({ minLength: 16, maxLength: 16 }).map(narrow),
      length: fc.integer({ min: 0, max: 128 }),
    }),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(anyPrefix, fc.boolean()), { maxLength: 12 }), (rows) => {
      const tree = new PrefixTree<readonly number[]>();
      const without = (at: number) => (values?: readonly number[]) => nonEmpty(values?.filter((one) => one !== at));
      rows.forEach(([prefix], at) => tree.update(prefix, (values = []) => [...values, at]));
      rows.forEach(([prefix, stays], at) => stays || tree.update(prefix, without(at)));
      for (const [{ prefix }] of rows) {
        const address = formatIp(prefix) ?? "";
        const bytes = parseIp(address) ?? prefix;
        const expected = rows.flatMap(([other, stays], at) =>
          stays && inPrefix(bytes, other.prefix, other.length) ? [at] : [],
        );
        assert.deepEqual(
          tree
            .covering(address)
            .flatMap(({ value }) => value)
            .sort(),
          expected.sort(),
        );
      }
      rows.forEach(([prefix], at) => tree.update(prefix, without(at)));
      assert.ok(tree.isEmpty());
    }),
  );
});

function nonEmpty<T>(list: readonly T[] | undefined): readonly T[] | undefined {
  return list?.length === 0 ? undefined : list;
}

/** Few distinct bits, so that prefixes overlap. */
function narrow(bytes: Uint8Array): Uint8Array {
  return bytes.map((byte) => byte & 0x81);
}
