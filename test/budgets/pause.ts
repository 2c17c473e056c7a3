/** A process of its own, since V8 tells on standard output: connections, a pause, and a whole collection while nothing is open. */
import { setTimeout as pass } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { compileSooner, keepCode } from "../../agent/hot-code.ts";
import { collectGarbage } from "../../agent/garbage.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { TwoPods } from "./two-pods.ts";

const skip = enterNamespaces();
if (skip !== undefined) throw new Error(skip);
keepCode();
const pods = await TwoPods.start();
compileSooner();
for (let round = 0; round < 10; round++) await pods.exchange("connections", 500);
// What lingers for a moment after its connection is gone, too.
await pass(1_500);
setFlagsFromString("--trace-deopt");
collectGarbage();
collectGarbage();
setFlagsFromString("--no-trace-deopt");
process.stdout.write("collected\n");
pods.close();
process.exit();
