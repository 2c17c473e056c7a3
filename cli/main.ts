/** `ambientctl`: what a person types. Each command is a file of its own in commands/. */
import { Command, CommanderError } from "commander";
import { messageOf } from "../core/base/errors.ts";
import { certificatesCommand } from "./commands/certificates.ts";
import { installCommand } from "./commands/install.ts";
import { labCommand } from "./commands/lab.ts";
import { logCommand } from "./commands/log.ts";
import { namespaceCommand } from "./commands/namespace.ts";
import { uninstallCommand } from "./commands/uninstall.ts";
import { verifyCommand } from "./commands/verify.ts";
import { versionCommand } from "./commands/version.ts";
import { workloadsCommand } from "./commands/workloads.ts";
import { exitCodes } from "./exit-codes.ts";
import { addGlobalOptions } from "./global-options.ts";
import { Failure } from "./render/failure.ts";

export async function main(argv: string[]): Promise<void> {
  // Whoever reads our output may have seen enough: `ambientctl log | head`.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(exitCodes.ok);
  });
  const program = new Command("ambientctl")
    .description("Ask an ambient mesh what it knows, and why it did what it did")
    .enablePositionalOptions()
    .exitOverride()
    .showHelpAfterError("(ambientctl --help says more)");
  const commands = [
    installCommand(),
    uninstallCommand(),
    versionCommand(),
    namespaceCommand(),
    workloadsCommand(),
    certificatesCommand(),
    logCommand(),
    verifyCommand(),
    labCommand(),
  ];
  for (const command of commands) program.addCommand(command);
  addGlobalOptions(program);
  try {
    await program.parseAsync(argv, { from: "user" });
  } catch (thrown) {
    process.exitCode = explain(thrown);
  }
}

function explain(thrown: unknown): number {
  // Commander has printed its own message already; help and version are no failures.
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? exitCodes.ok : exitCodes.unusable;
  if (thrown instanceof Failure) {
    process.stderr.write(thrown.render());
    return thrown.exitCode;
  }
  process.stderr.write(`${messageOf(thrown)}\n`);
  return exitCodes.unusable;
}
