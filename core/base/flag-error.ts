import { TypedError } from "./errors.ts";

/** A command line that cannot be followed, and what to do about it. */
export class FlagError extends TypedError<{
  readonly code: "config.bad-flag";
  /** Whose it is, as typed: `ambientd control`. */
  readonly command: string;
  /** With its dashes, where it is known. */
  readonly flag?: string;
  readonly problem: string;
  readonly fix: string;
}> {
  /** One line for a terminal. */
  sentence(): string {
    const { command, problem, fix } = this.type;
    return `${command}: ${problem}; ${fix}`;
  }
}
