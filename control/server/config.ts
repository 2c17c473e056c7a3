/** The flags of `ambientd control`. */
import { isIP } from "node:net";
import { parseIp, type Endpoint } from "../../core/base/ip.ts";
import { TypedError } from "../../core/base/errors.ts";

export interface ControlConfig {
  /** Folder of Kubernetes manifests. */
  readonly manifests: string;
  /** Folder of status overlays. */
  readonly status: string;
  /** Private: root key and certificate, token key. */
  readonly data: string;
  readonly listen: Endpoint;
  /** File the root certificate is published in. */
  readonly publishRoot: string;
  /** Folder of `<node>/istio-token`. */
  readonly tokens: string;
  /** Seconds no workload certificate outlives; absent: what is asked for, 24 hours by default. */
  readonly certTtlSeconds?: number;
  readonly clusterId: string;
  readonly trustDomain: string;
  /** Names and addresses control is reached by. */
  readonly advertise: readonly string[];
}

/** A flag and what to do about it. */
export class ConfigError extends TypedError<{
  readonly code: "config.bad-flag";
  readonly flag: string;
  readonly problem: string;
  readonly fix: string;
}> {
  /** One line for a terminal. */
  sentence(): string {
    const { flag, problem, fix } = this.type;
    return `ambientd control: ${flag} ${problem}; ${fix}`;
  }
}

export function parseFlags(argv: readonly string[]): ControlConfig | ConfigError {
  const given = readFlags(argv);
  if (given instanceof ConfigError) return given;
  const missing = required.find((flag) => !given.has(flag));
  if (missing !== undefined) return bad(`--${missing}`, "is missing", `add --${missing} ${flags[missing]}`);
  const listen = parseListen(given.get("listen") ?? "");
  if (listen instanceof ConfigError) return listen;
  const certTtl = given.get("cert-ttl");
  const certTtlSeconds = Number(certTtl);
  if (
    certTtl !== undefined &&
    !(Number.isInteger(certTtlSeconds) && certTtlSeconds >= 1 && certTtlSeconds <= mostTtlSeconds)
  ) {
    return bad("--cert-ttl", `is "${certTtl}"`, `give whole seconds from 1 to ${mostTtlSeconds}`);
  }
  const trustDomain = given.get("trust-domain") ?? "cluster.local";
  if (!trustDomainShape.test(trustDomain)) {
    return bad("--trust-domain", `is "${trustDomain}"`, "use lower-case letters, digits, dots, dashes and underscores");
  }
  const advertise = (given.get("advertise") ?? "").split(",").filter((name) => name !== "");
  const strange = advertise.find((name) => isIP(name) === 0 && !hostShape.test(name));
  if (strange !== undefined)
    return bad("--advertise", `holds "${strange}"`, "give host names and addresses, with commas between");
  return {
    manifests: given.get("manifests") ?? "",
    status: given.get("status") ?? "",
    data: given.get("data") ?? "",
    listen,
    publishRoot: given.get("publish-root") ?? "",
    tokens: given.get("tokens") ?? "",
    ...(certTtl === undefined ? {} : { certTtlSeconds }),
    clusterId: given.get("cluster-id") ?? "Kubernetes",
    trustDomain,
    advertise,
  };
}

export const usage = (): string =>
  `usage: ambientd control ${Object.entries(flags)
    .map(([flag, value]) => (required.includes(flag as Flag) ? `--${flag} ${value}` : `[--${flag} ${value}]`))
    .join(" ")}\n`;

type Flag = keyof typeof flags;

/** `--flag value` and `--flag=value`. */
function readFlags(argv: readonly string[]): ReadonlyMap<Flag, string> | ConfigError {
  const given = new Map<Flag, string>();
  for (let index = 0; index < argv.length; index++) {
    const word = argv[index] ?? "";
    const [flag = "", ...rest] = word.split("=");
    const name = flag.slice(2);
    if (!flag.startsWith("--") || !isFlag(name)) {
      return bad(
        word,
        "is not a flag of it",
        `the flags are ${Object.keys(flags)
          .map((known) => `--${known}`)
          .join(", ")}`,
      );
    }
    const value = rest.length > 0 ? rest.join("=") : argv[++index];
    if (value === undefined || value === "" || (rest.length === 0 && value.startsWith("--"))) {
      return bad(flag, "has no value", `write ${flag} ${flags[name]}`);
    }
    if (given.has(name)) return bad(flag, "is given twice", "give it once");
    given.set(name, value);
  }
  return given;
}

function parseListen(text: string): Endpoint | ConfigError {
  const [, address = "", port = ""] = /^(.*):(\d{1,5})$/.exec(text) ?? [];
  const bare = address.replace(/^\[(.*)\]$/, "$1");
  const isBracketed = bare !== address;
  const isGood = parseIp(bare) !== undefined && isBracketed === bare.includes(":") && Number(port) <= 65_535;
  if (isGood) return { address: bare, port: Number(port) };
  return bad("--listen", `is "${text}"`, "give an address and a port, like 0.0.0.0:15012 or [::]:15012");
}

function bad(flag: string, problem: string, fix: string): ConfigError {
  return new ConfigError({ code: "config.bad-flag", flag, problem, fix });
}

function isFlag(name: string): name is Flag {
  return Object.hasOwn(flags, name);
}

/** What each one takes. */
const flags = {
  manifests: "DIR",
  status: "DIR",
  data: "DIR",
  listen: "ADDRESS:PORT",
  "publish-root": "FILE",
  tokens: "DIR",
  "cert-ttl": "SECONDS",
  "cluster-id": "NAME",
  "trust-domain": "NAME",
  advertise: "HOST_OR_IP,…",
} as const;
const required: readonly Flag[] = ["manifests", "status", "data", "listen", "publish-root", "tokens"];
const trustDomainShape = /^[a-z0-9._-]{1,255}$/;
const hostShape = /^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/;
/** 90 days, as istiod has it (MAX_WORKLOAD_CERT_TTL). */
export const mostTtlSeconds = 90 * 86_400;
