/** A process that has the command line loaded and runs it again and again, as if each time were the first: see run.ts. */
import { main } from "../main.ts";
import type { Ran } from "./run.ts";

process.on("message", ({ argv, env }: { argv: string[]; env: Record<string, string> }) => {
  void run(argv, env).then((ran) => process.send?.(ran));
});
process.on("disconnect", () => process.exit());

async function run(argv: string[], env: Record<string, string>): Promise<Ran> {
  process.env = env;
  process.exitCode = 0;
  const said = { stdout: "", stderr: "" };
  const restore = (["stdout", "stderr"] as const).map((name) => {
    const stream = process[name];
    const write = stream.write.bind(stream);
    stream.write = (chunk: string | Uint8Array): boolean => {
      said[name] += typeof chunk === "string" ? chunk : Buffer.from(chunk).toString();
      return true;
    };
    return (): void => {
      stream.write = write;
      stream.removeAllListeners("error");
    };
  });
  await main(argv);
  for (const undo of restore) undo();
  return { code: Number(process.exitCode), ...said };
}
