import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import type { DeltaResource } from "./delta-client.ts";
import { ResourceLog } from "./resource-log.ts";

const names = fc.constantFrom("a", "b", "c", "d", "e");

function resource(name: string, version: string): DeltaResource {
  return { name, version, bytes: Buffer.from(version) };
}

suite("the resource log", () => {
  test("tells from any point on exactly what differs", () => {
    const word = fc.record({ name: names, version: fc.option(fc.constantFrom("1", "2", "3"), { nil: undefined }) });
    fc.assert(
      fc.property(fc.array(word, { maxLength: 40 }), fc.nat(40), (words, when) => {
        const log = new ResourceLog();
        const at = (until: readonly (typeof words)[number][]): number => {
          for (const { name, version } of until) {
            if (version === undefined) log.apply([], [name]);
            else log.apply([resource(name, version)], []);
          }
          return log.sequence;
        };
        const cursor = at(words.slice(0, when));
        const then = new Map([...log.resources()].map(({ name, version }) => [name, version]));
        at(words.slice(when));
        const { changed, removed } = log.since(cursor);
        for (const { name, version } of changed) then.set(name, version);
        for (const name of removed) then.delete(name);
        assert.deepEqual(
          Object.fromEntries([...then].sort()),
          Object.fromEntries([...log.resources()].map(({ name, version }) => [name, version] as const).sort()),
        );
      }),
    );
  });

  test("replacing the whole finds what changed and what went", () => {
    const log = new ResourceLog();
    log.replace([resource("a", "1"), resource("b", "1"), resource("c", "1")]);
    const cursor = log.sequence;
    assert.ok(log.replace([resource("a", "1"), resource("b", "2")]));
    assert.deepEqual(log.since(cursor), { changed: [resource("b", "2")], removed: ["c"] });
    assert.ok(!log.replace([resource("a", "1"), resource("b", "2")]));
  });
});
