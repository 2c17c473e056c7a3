/**
 * What of the mesh's ProxyConfig means something to a node agent (agent-wire 10.1): `defaultConfig` of the mesh's file first, then what
 * `PROXY_CONFIG` says, both YAML. The environment's own variables win over both.
 */
import { parseYaml } from "./yaml.ts";

export interface ProxyConfig {
  /** Where metrics are asked for. */
  readonly statsPort: number;
  readonly adminPort: number;
  /** Where control is, as host:port. */
  readonly discoveryAddress?: string;
  /** Data-plane workers; 0: one for each core. */
  readonly concurrency?: number;
  /** proxyMetadata as written: names with and without ISTIO_META_. */
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * What is left out is as in the field.
 * @param mesh content of the mesh's file.
 * @returns what is wrong with it, as the end of a sentence, where something is.
 */
export function parseProxyConfig(text: string | undefined, mesh?: string): ProxyConfig | string {
  const file = fieldsOf(mesh, "defaultConfig: {statsPort: 15020}");
  if (typeof file === "string") return `beside a mesh file that ${file}`;
  const first = fieldsOf(file["defaultConfig"], "defaultConfig: {statsPort: 15020}");
  if (typeof first === "string") return `beside a mesh file whose defaultConfig ${first}`;
  const second = fieldsOf(text, "statsPort: 15020");
  if (typeof second === "string") return second;
  const merged = { statsPort: 15_020, proxyAdminPort: 15_000, ...first, ...second };
  const { statsPort, proxyAdminPort, discoveryAddress, concurrency } = merged as Record<string, unknown>;
  for (const [name, port] of Object.entries({ statsPort, proxyAdminPort })) {
    if (!isWhole(port, 1, 65_535)) return `names a ${name} that is no port: write a number from 1 to 65535`;
  }
  if (discoveryAddress !== undefined && typeof discoveryAddress !== "string") {
    return "names a discoveryAddress that is none: write it like host:15012";
  }
  if (concurrency !== undefined && !isWhole(concurrency, 0, 1_024)) {
    return "names a concurrency that is none: write a number from 0 to 1024";
  }
  const metadata: Record<string, string> = {};
  for (const one of [first["proxyMetadata"], second["proxyMetadata"]]) {
    const values = fieldsOf(one, "proxyMetadata: {ISTIO_META_X: y}");
    if (typeof values === "string") return `has a proxyMetadata that ${values}`;
    for (const [name, value] of Object.entries(values)) metadata[name] = String(value);
  }
  return {
    statsPort: Number(statsPort),
    adminPort: Number(proxyAdminPort),
    ...(discoveryAddress !== undefined && { discoveryAddress }),
    ...(concurrency !== undefined && { concurrency: Number(concurrency) }),
    metadata,
  };
}

type Values = Readonly<Record<string, unknown>>;

/** @param value an object, or the YAML of one; nothing is an empty one. */
function fieldsOf(value: unknown, example: string): Values | string {
  let parsed = value;
  if (typeof value === "string") {
    try {
      parsed = parseYaml(value);
    } catch {
      return `is no YAML: write it like \`${example}\``;
    }
  }
  if (parsed === undefined || parsed === null) return {};
  if (typeof parsed !== "object" || Array.isArray(parsed)) return `is no object: write it like \`${example}\``;
  return parsed as Values;
}

function isWhole(value: unknown, least: number, most: number): boolean {
  return typeof value === "number" && Number.isInteger(value) && value >= least && value <= most;
}
