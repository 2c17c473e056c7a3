/** The parser of YAML, loaded by the first that has some: most agents have none, and are spared 1.4 MB. */
import { createRequire } from "node:module";
import type * as Yaml from "yaml";

/** @throws where it is no YAML. */
export function parseYaml(text: string): unknown {
  const require = createRequire(import.meta.url);
  const { parse } = require("yaml") as typeof Yaml;
  return parse(text);
}
