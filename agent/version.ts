/** Which release this is: what the package.json above this file says, from source and compiled alike. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

export function version(): string {
  for (let at = import.meta.dirname; at !== dirname(at); at = dirname(at)) {
    try {
      const parsed = JSON.parse(readFileSync(join(at, "package.json"), "utf8")) as { readonly version?: unknown };
      if (typeof parsed.version === "string") return parsed.version;
    } catch {
      // Not here: one floor up.
    }
  }
  return "unknown";
}
