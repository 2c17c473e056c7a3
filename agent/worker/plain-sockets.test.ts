/** What is held true of relays and workers, once more over net.Sockets, as where core/linux/bare-socket-check.ts finds something wrong. */
import { tested } from "../../test/support/socket-kinds.ts";

tested.kind = "node";
await import("../relay/relay.test.ts");
await import("./drain.test.ts");
await import("./inbound.test.ts");
await import("./listeners.test.ts");
await import("./our-bugs.test.ts");
await import("./worker.test.ts");
