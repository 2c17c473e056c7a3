/** A process that installs into `dir` and is killed before step `n` of what changes the disk, its write half done. */
import { watchedDisk, NodeDirectory } from "./node-directory.ts";

const [dir = "", last = ""] = process.argv.slice(2);
const node = Object.create(NodeDirectory.prototype, { path: { value: dir } }) as NodeDirectory;
const disk = watchedDisk((step, _name, half) => {
  if (step < Number(last)) return;
  half();
  process.kill(process.pid, "SIGKILL");
});
await node.installer({ disk }).start();
process.exit(0);
