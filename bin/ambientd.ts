/** `ambientd ROOM …`: hands argv to one room's main. Rooms are loaded lazily, so that each program carries only its own. */
const rooms: Readonly<Record<string, () => Promise<{ main(argv: string[]): Promise<void> }>>> = {
  agent: () => import("../agent/main.ts"),
  control: () => import("../control/server/main.ts"),
  cni: () => import("../cni/main.ts"),
  release: () => import("../control/release/main.ts"),
};

const [name = "help", ...argv] = process.argv.slice(2);
const room = rooms[name];
if (room === undefined) {
  const asked = name === "help" || name === "--help";
  const usage = `usage: ambientd ${Object.keys(rooms).join(" | ")} [flags]\n`;
  (asked ? process.stdout : process.stderr).write(asked ? usage : `ambientd: there is no "${name}"\n${usage}`);
  process.exitCode = asked ? 0 : 2;
} else {
  await (await room()).main(argv);
}
