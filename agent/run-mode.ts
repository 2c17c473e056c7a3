/** Whom an agent serves and from where it knows the mesh, as its environment says (agent-wire 1.3, 4.9, 5.1). */
import { isAbsolute } from "node:path";

/** `shared`: the node's pods, as the node daemon names them. `dedicated`: one workload, in the agent's own network namespace. */
export type RunMode =
  | { readonly kind: "shared" }
  | {
      readonly kind: "dedicated";
      readonly workload: { readonly namespace: string; readonly name: string; readonly serviceAccount: string };
    };

/** A mesh that is written down: core keys of agent-wire 4.9. */
export type LocalMeshSource =
  { readonly kind: "file"; readonly path: string } | { readonly kind: "inline"; readonly yaml: string };

/** What is wrong, in the words of a bad setting. */
export interface SettingProblem {
  readonly variable: string;
  readonly value: string;
  readonly fix: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

export function parseMode(env: Environment): RunMode | SettingProblem {
  const mode = env["PROXY_MODE"] ?? "shared";
  if (mode === "" || mode === "shared") return { kind: "shared" };
  if (mode !== "dedicated")
    return { variable: "PROXY_MODE", value: mode, fix: "is no mode: write shared or dedicated" };
  const value = env["PROXY_WORKLOAD_INFO"] ?? "";
  const [namespace = "", name = "", serviceAccount = "", ...rest] = value.split("/");
  if (namespace === "" || name === "" || serviceAccount === "" || rest.length > 0) {
    const fix = "does not name the one workload: write namespace/name/service-account";
    return { variable: "PROXY_WORKLOAD_INFO", value, fix };
  }
  return { kind: "dedicated", workload: { namespace, name, serviceAccount } };
}

export function parseLocalMesh(env: Environment): LocalMeshSource | SettingProblem | undefined {
  const [path = "", yaml = ""] = [env["LOCAL_XDS_PATH"], env["LOCAL_XDS"]];
  if (path !== "" && yaml !== "") {
    return { variable: "LOCAL_XDS_PATH", value: path, fix: "stands beside LOCAL_XDS: leave one of them out" };
  }
  if (path !== "") return { kind: "file", path };
  return yaml === "" ? undefined : { kind: "inline", yaml };
}

/**
 * Certificates that the agent issues to itself, from a root in a folder that agents of one test share. Nobody gets this by a slip:
 * three variables must agree, and one of them says that this is a test.
 * @returns the folder.
 */
export function parseFakeCa(env: Environment): string | SettingProblem | undefined {
  const value = env["FAKE_CA"] ?? "";
  if (value === "" || value === "false") return undefined;
  const folder = env["AMBIENTD_FAKE_CA_DIR"] ?? "";
  if (value !== "true") return { variable: "FAKE_CA", value, fix: "is neither true nor false: write one of them" };
  if (env["NODE_ENV"] !== "test") {
    return { variable: "FAKE_CA", value, fix: "is for tests alone (NODE_ENV=test): leave it out" };
  }
  if (isAbsolute(folder)) return folder;
  const fix = "is no absolute path: FAKE_CA needs a folder for its root";
  return { variable: "AMBIENTD_FAKE_CA_DIR", value: folder, fix };
}

/** What the field's agents can be set to and this one cannot: better no start than another meaning. */
export function unsupported(env: Environment): SettingProblem | undefined {
  for (const [variable, { allowed, fix }] of Object.entries(refused)) {
    const value = env[variable] ?? "";
    if (value !== "" && !allowed.includes(value)) return { variable, value, fix };
  }
  return undefined;
}

const off = ["false", "0"];
const refused: Readonly<Record<string, { readonly allowed: readonly string[]; readonly fix: string }>> = {
  ENABLE_PROXY: { allowed: ["true", "1"], fix: "would leave nothing to run: leave it out" },
  TLS12_ENABLED: { allowed: off, fix: "is not supported: tunnels are TLS 1.3 alone, leave it out" },
  COMPLIANCE_POLICY: { allowed: [], fix: "is not supported: leave it out" },
  XDS_ON_DEMAND: { allowed: off, fix: "is not supported: the agent subscribes to the whole mesh, leave it out" },
  UNSTABLE_ENABLE_SOCKS5: { allowed: off, fix: "is not supported: leave it out" },
};
