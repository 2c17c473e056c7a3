/** `ambientd cni …`: which part of the room is meant. */
const parts: Readonly<Record<string, () => Promise<{ main(argv: string[]): Promise<void> }>>> = {
  daemon: () => import("./daemon/main.ts"),
};

export async function main([part = "", ...argv]: string[]): Promise<void> {
  const load = parts[part];
  if (load === undefined) {
    process.stderr.write(`ambientd cni: "${part}" is none of: ${Object.keys(parts).join(", ")}\n`);
    process.exitCode = 2;
    return;
  }
  await (await load()).main(argv);
}
