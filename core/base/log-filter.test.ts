import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultLogFilter, extendLogFilter, formatLogFilter, isLoud, levelOf, type LogFilter } from "./log-filter.ts";

function filter(text: string, from: LogFilter = defaultLogFilter): LogFilter {
  const extended = extendLogFilter(from, text);
  if ("unknown" in extended) throw new Error(extended.unknown);
  return extended;
}

test("F-216 a filter says a level for all, and for scopes by name, as others spell it too", () => {
  const rows: readonly (readonly [string, string, string])[] = [
    ["debug", "agent", "debug"],
    ["info,access=debug", "access", "debug"],
    ["info,access=debug", "agent", "info"],
    ["access:debug,warn", "access", "debug"],
    ["ztunnel::access=trace", "access", "trace"],
    ["ztunnel=debug,info", "dns", "info"],
    ["hickory_server::server=off", "agent", "info"],
    ["off", "access", "silent"],
    ["Warning", "access", "warn"],
    ["access[{src}]=error", "access", "error"],
    ["", "access", "info"],
    [" debug , dns=off ", "dns", "silent"],
  ];
  for (const [text, scope, level] of rows) assert.equal(levelOf(filter(text), scope), level, `${text} of ${scope}`);
});

test("F-216 what is added to a filter leaves the rest of it, and what is not understood leaves all of it", () => {
  const first = filter("access=debug,warn");
  assert.equal(formatLogFilter(filter("dns=trace", first)), "access=debug,dns=trace,warn");
  assert.equal(formatLogFilter(filter("error", first)), "access=debug,error");
  for (const text of ["loud", "access=loud", "info,=debug", "info;debug", "access=debug=trace"]) {
    assert.ok("unknown" in extendLogFilter(first, text), text);
  }
});

test("a level is loud from its own threshold on", () => {
  assert.ok(isLoud("warn", "info") && isLoud("info", "info") && !isLoud("debug", "info") && !isLoud("fatal", "silent"));
});
