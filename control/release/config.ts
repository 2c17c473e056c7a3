/** The flags of `ambientd release`. */
import { parseArgs } from "node:util";
import { messageOf } from "../../core/base/errors.ts";
import { FlagError } from "../../core/base/flag-error.ts";

export interface ReleaseConfig {
  /** Where ambientd is installed. */
  readonly namespace: string;
  /** How long all nodes together may take. */
  readonly timeoutMs: number;
  /** The mesh's root key stays, for a later install. */
  readonly keepRoot: boolean;
  /** Control is another one's: what it wrote is left alone. */
  readonly keepControl: boolean;
  /** Absent: the pod's own service account. */
  readonly kubeconfig?: string;
  readonly context?: string;
}

export const usage =
  "usage: ambientd release --namespace NAMESPACE [--timeout SECONDS] [--keep-root] [--keep-control] " +
  "[--kubeconfig FILE] [--context NAME]\n" +
  "Takes every pod out of the mesh, live, and every trace of ambientd off nodes and objects: what goes before an uninstall.\n";

export function parseFlags(argv: readonly string[]): ReleaseConfig | FlagError {
  let values: ReturnType<typeof read>;
  try {
    values = read(argv);
  } catch (thrown) {
    return bad(messageOf(thrown).split(". ")[0] ?? "", "see ambientd release --help");
  }
  const { namespace = "", timeout = "120", kubeconfig, context } = values;
  if (namespace === "") return bad("--namespace is missing", "add --namespace NAMESPACE");
  if (!labelShape.test(namespace)) return bad(`--namespace is "${namespace}"`, "give the name of a namespace");
  const seconds = Number(timeout);
  if (!/^\d{1,5}$/.test(timeout) || seconds < 1) {
    return bad(`--timeout is "${timeout}"`, "give whole seconds, at least 1");
  }
  return {
    namespace,
    timeoutMs: seconds * 1_000,
    keepRoot: values["keep-root"] ?? false,
    keepControl: values["keep-control"] ?? false,
    ...(kubeconfig === undefined ? {} : { kubeconfig }),
    ...(context === undefined ? {} : { context }),
  };
}

function read(argv: readonly string[]) {
  return parseArgs({
    args: [...argv],
    strict: true,
    allowPositionals: false,
    options: {
      namespace: { type: "string" },
      timeout: { type: "string" },
      "keep-root": { type: "boolean" },
      "keep-control": { type: "boolean" },
      kubeconfig: { type: "string" },
      context: { type: "string" },
    },
  }).values;
}

function bad(problem: string, fix: string): FlagError {
  return new FlagError({ code: "config.bad-flag", command: "ambientd release", problem, fix });
}

/** RFC 1123. */
const labelShape = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
