/** `ambientctl …`: hands argv to the command line's main. */
import { main } from "../cli/main.ts";

await main(process.argv.slice(2));
