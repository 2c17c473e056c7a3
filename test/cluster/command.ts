/** Running a program to its end. */
import { spawn } from "node:child_process";
import { createReadStream } from "node:fs";

export interface CommandOptions {
  readonly cwd?: string;
  /** The whole environment; the caller's own when missing. */
  readonly env?: NodeJS.ProcessEnv;
  /** Bytes for standard input, or a file; nothing when missing. */
  readonly stdin?: string | Uint8Array | { readonly file: string };
  /** Milliseconds until it is killed; none when missing. */
  readonly timeoutMs?: number;
  /** Called with each line of standard error, while it runs. */
  readonly onErrorLine?: (line: string) => void;
}

export interface Finished {
  readonly stdout: string;
  readonly stderr: string;
  /** 127 when it could not be started, 137 when a signal ended it. */
  readonly code: number;
}

/** Resolves when the program ended, however it did. */
export function run(argv: readonly string[], options: CommandOptions = {}): Promise<Finished> {
  const [program = "", ...rest] = argv;
  const { promise, resolve } = Promise.withResolvers<Finished>();
  const child = spawn(program, rest, { cwd: options.cwd, env: options.env ?? process.env });
  const output = { stdout: "", stderr: "" };
  const watchdog =
    options.timeoutMs === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), options.timeoutMs);
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output.stdout += text));
  let unfinished = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output.stderr += text;
    if (options.onErrorLine === undefined) return;
    const lines = (unfinished + text).split("\n");
    unfinished = lines.pop() ?? "";
    for (const line of lines) options.onErrorLine(line);
  });
  const end = (code: number, complaint = ""): void => {
    clearTimeout(watchdog);
    resolve({ ...output, stderr: output.stderr + complaint, code });
  };
  child.on("error", (error) => end(127, error.message));
  child.on("close", (code) => end(code ?? 137));
  // A program that ends without reading its input is its own affair.
  child.stdin.on("error", () => {});
  const { stdin } = options;
  if (typeof stdin === "object" && "file" in stdin) createReadStream(stdin.file).pipe(child.stdin);
  else child.stdin.end(stdin ?? "");
  return promise;
}

/** As `run`, where a failure is the end: throws with what the program said. */
export async function mustRun(argv: readonly string[], options: CommandOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await run(argv, options);
  if (code === 0) return stdout;
  throw new Error(`${argv.slice(0, 6).join(" ")}: exit ${code}: ${tail(stderr === "" ? stdout : stderr)}`);
}

/** The last lines: a compiler's or server's complaint is at the end. */
export function tail(text: string, lines = 12): string {
  return text.trimEnd().split("\n").slice(-lines).join("\n");
}
