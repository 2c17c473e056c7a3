/** The flags every command takes, with kubectl's names and meanings. They may stand before the command or after it. */
import { Option, type Command } from "commander";
import { duration } from "./render/arguments.ts";
import { formats, type Format } from "./render/output.ts";

export interface GlobalOptions {
  readonly lab?: string;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly cluster?: string;
  readonly user?: string;
  readonly namespace?: string;
  readonly systemNamespace?: string;
  /** Milliseconds a single request may take; 0 is no limit. */
  readonly requestTimeout?: number;
  readonly output?: Format;
}

/** Adds the flags to the program and to every command below it; a command's own flag of that name stays its own. */
export function addGlobalOptions(program: Command): void {
  for (const option of globalOptions()) program.addOption(option);
  for (const command of program.commands) addTo(command);
}

function addTo(command: Command): void {
  for (const option of globalOptions()) {
    const taken = command.options.some(
      ({ long, short }) => long === option.long || (short !== undefined && short === option.short),
    );
    if (!taken) command.addOption(option);
  }
  command.exitOverride().showHelpAfterError("(--help says more)");
  for (const child of command.commands) addTo(child);
}

/** What was said, wherever it stood; the word nearer to the command counts. */
export function globalsOf(command: Command): GlobalOptions {
  const options: GlobalOptions = {};
  for (let at: Command | null = command; at !== null; at = at.parent) {
    for (const [name, value] of Object.entries(at.opts())) {
      if (value !== undefined && !Object.hasOwn(options, name)) Object.assign(options, { [name]: value as unknown });
    }
  }
  return options;
}

export function formatOf(command: Command): Format {
  return globalsOf(command).output ?? "table";
}

function globalOptions(): Option[] {
  const options = [
    new Option("--lab <name>", "ask the lab of this name, not a cluster"),
    new Option("--kubeconfig <file>", "which kubeconfig (default: $KUBECONFIG, then ~/.kube/config)"),
    new Option("--context <name>", "which context of the kubeconfig"),
    new Option("--cluster <name>", "which cluster of the kubeconfig"),
    new Option("--user <name>", "which user of the kubeconfig"),
    new Option("-n, --namespace <name>", "only this namespace; for install, uninstall: where ambientd lives"),
    new Option("--system-namespace <name>", "where ambientd lives (default: wherever its pods are found)"),
    new Option("--request-timeout <time>", "how long one request may take: 30s, 2m; 0 is no limit").argParser(duration),
    new Option("-o, --output <format>", "table for people, json or yaml for machines").choices(formats),
  ];
  return options.map((option) => option.helpGroup("Of every command:"));
}
