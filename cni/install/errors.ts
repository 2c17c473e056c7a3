/** Why the plugin can't be put into a node's chain of CNI plugins. After each of these the node's configuration is as it was. */
import { TypedError } from "../../core/base/errors.ts";

export type InstallFailure =
  | { readonly code: "install.no-space"; readonly path: string }
  | { readonly code: "install.read-only"; readonly path: string }
  | { readonly code: "install.not-allowed"; readonly path: string; readonly errno: string }
  | { readonly code: "install.io"; readonly path: string; readonly errno: string }
  /** The configuration that the runtime uses must not be extended. */
  | { readonly code: "install.unchainable"; readonly file: string; readonly reason: string; readonly fix: string }
  /** Others write to the file whenever we do. */
  | { readonly code: "install.contended"; readonly file: string }
  /** Uninstalling: a file still names the plugin, so its executable stays. */
  | { readonly code: "install.still-named"; readonly file: string }
  /** The node lacks something; nothing has been changed. */
  | { readonly code: "install.preflight"; readonly faults: readonly NodeFault[] };

export interface NodeFault {
  readonly problem: string;
  readonly fix: string;
}

export class InstallError extends TypedError<InstallFailure> {
  /** What, and what to do: for a log, an Event, a terminal. */
  sentence(): string {
    const { type } = this;
    switch (type.code) {
      case "install.no-space":
        return `no space is left for ${type.path}; free some on the node (about 120 MB are needed), it is tried again by itself`;
      case "install.read-only":
        return `${type.path} lies on a read-only file system; this platform keeps its CNI files elsewhere: set cni.binDir and cni.confDir`;
      case "install.not-allowed":
        return `${type.path} can't be written (${type.errno}); the cni DaemonSet needs uid 0, DAC_OVERRIDE and a writable hostPath there`;
      case "install.io":
        return `${type.path} failed (${type.errno}); it is tried again by itself`;
      case "install.unchainable":
        return `${type.file} can't be chained: ${type.reason}; ${type.fix}`;
      case "install.contended":
        return `${type.file} is rewritten by another program all the time; let it leave foreign entries alone, or stop it`;
      case "install.still-named":
        return `${type.file} names ambient-cni again, so its executable stays; remove the entry, then the executable`;
      case "install.preflight":
        return type.faults.map(({ problem, fix }) => `${problem}; ${fix}`).join(". ");
    }
  }
}

/** The one door for what the file system says. */
export function failureOf(thrown: unknown, path: string): InstallError {
  const errno = thrown instanceof Error && "code" in thrown ? String(thrown.code) : String(thrown);
  const where = thrown instanceof Error && "path" in thrown ? String(thrown.path) : path;
  if (errno === "ENOSPC" || errno === "EDQUOT") return new InstallError({ code: "install.no-space", path: where });
  if (errno === "EROFS") return new InstallError({ code: "install.read-only", path: where });
  if (errno === "EACCES" || errno === "EPERM")
    return new InstallError({ code: "install.not-allowed", path: where, errno });
  return new InstallError({ code: "install.io", path: where, errno });
}
