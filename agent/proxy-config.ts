/** `PROXY_CONFIG`: the part of the mesh's ProxyConfig, as YAML in a variable, that means something to a node agent (agent-wire 10.1). */
import { parse } from "yaml";

export interface ProxyConfig {
  /** Where metrics are asked for. */
  readonly statsPort: number;
}

/** What is left out is as in the field. @returns what is wrong with it, as the end of a sentence, where something is. */
export function parseProxyConfig(text: string | undefined): ProxyConfig | string {
  if (text === undefined || text.trim() === "") return defaults;
  let parsed: unknown;
  try {
    parsed = parse(text);
  } catch {
    return "is no YAML: write it like `statsPort: 15020`";
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    return "is no object: write it like `statsPort: 15020`";
  }
  const { statsPort = defaults.statsPort } = parsed as { readonly statsPort?: unknown };
  if (typeof statsPort !== "number" || !Number.isInteger(statsPort) || statsPort < 1 || statsPort > 65_535) {
    return "names a statsPort that is no port: write a number from 1 to 65535";
  }
  return { statsPort };
}

const defaults: ProxyConfig = { statsPort: 15_020 };
