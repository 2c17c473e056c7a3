/** The CNI plugin: scripts/build-plugin.ts makes one executable of it, which runs on nodes that have no Node. */
import { main } from "../cni/plugin/main.ts";

void main();
