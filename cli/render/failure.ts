/** Answers that end in an action: what went wrong, and what to do about it. */
import { exitCodes } from "../exit-codes.ts";

/** A failure meant for a person: printed without a stack, with the exit code the shell is told. */
export class Failure extends Error {
  readonly nextStep: string;
  readonly exitCode: number;

  constructor(what: string, nextStep: string, exitCode: number = exitCodes.unusable) {
    super(what);
    this.nextStep = nextStep;
    this.exitCode = exitCode;
  }

  render(): string {
    return `${this.message}\n  ${this.nextStep}\n`;
  }
}
