/** The plugin's own keys in its network configuration; the installer writes them. */
import { CniSpecError } from "../../core/protocol/cni/errors.ts";
import { Faults, type JsonObject } from "../../core/protocol/cni/json-reader.ts";

export interface PluginSettings {
  /** Directory with pluginevent.sock, and with the plugin's log. */
  readonly runDir: string;
  /** Pods of these namespaces pass without anybody being asked. */
  readonly excludeNamespaces: readonly string[];
  readonly logLevel: LogLevel;
  /** Whether STATUS may call the node's network unready for want of the daemon: only where the daemon can start without it. */
  readonly statusReportsDaemon: boolean;
}

export type LogLevel = (typeof logLevels)[number];

export const logLevels = ["debug", "info", "warn", "error"] as const;

export function parseSettings(fields: JsonObject): PluginSettings | CniSpecError {
  const faults = new Faults();
  const runDir = faults.text(fields["cni_agent_run_dir"], "cni_agent_run_dir");
  const excludes = fields["exclude_namespaces"];
  const level = faults.text(fields["plugin_log_level"], "plugin_log_level");
  const excludeNamespaces = faults.texts(excludes, "exclude_namespaces");
  if (faults.found.length > 0) return new CniSpecError({ code: "cni-spec.undecodable", faults: faults.found });
  if (runDir !== "" && !runDir.startsWith("/"))
    return new CniSpecError({
      code: "cni-spec.invalid-config",
      problem: `cni_agent_run_dir "${runDir}" is no absolute path`,
    });
  return {
    runDir: runDir === "" ? defaultRunDir : runDir,
    excludeNamespaces: excludes === undefined ? defaultExcludes : excludeNamespaces,
    statusReportsDaemon: fields["status_reports_daemon"] !== false,
    logLevel: logLevels.find((known) => known === level) ?? "info",
  };
}

const defaultRunDir = "/var/run/ambientd/cni";
const defaultExcludes: readonly string[] = ["kube-system"];
