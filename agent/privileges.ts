/** What the kernel must let the agent do, tried once at the start: better a sentence then than pods that are refused one by one. */
import { closeSync } from "node:fs";
import { LinuxError } from "../core/linux/errno.ts";
import { markSocket } from "../core/linux/listening-socket.ts";
import { inNamespace, ownNamespace } from "../core/linux/namespace.ts";
import { closeDescriptor, listenTcp } from "../core/linux/sockets.ts";

/**
 * Tried with each capability dropped (Linux 6.18): CAP_SYS_ADMIN and CAP_NET_RAW are all that is needed. Before Linux 5.17 a mark
 * takes CAP_NET_ADMIN.
 * @returns which is missing, and for what, with the fix; undefined where both are there.
 */
export function missingPrivilege(packetMark: number | undefined): string | undefined {
  const own = ownNamespace();
  try {
    // A thread may enter only what it could leave: its own namespace will do for the question.
    const failed = inNamespace(own, () => (packetMark === undefined ? undefined : markFails(packetMark)));
    return failed === undefined
      ? undefined
      : sentence("CAP_NET_RAW (before Linux 5.17 CAP_NET_ADMIN)", "marks its own packets", failed);
  } catch (thrown) {
    if (!(thrown instanceof LinuxError)) throw thrown;
    return sentence("CAP_SYS_ADMIN", "enters pods' network namespaces", thrown);
  } finally {
    closeSync(own);
  }
}

function markFails(packetMark: number): LinuxError | undefined {
  const listener = listenTcp({ address: "127.0.0.1", port: 0 });
  if (listener instanceof LinuxError) return listener;
  const failed = markSocket(listener.fd, packetMark);
  closeDescriptor(listener.fd);
  return failed;
}

function sentence(capability: string, purpose: string, error: LinuxError): string {
  return (
    `ambientd agent: it ${purpose} and may not (${error.errno ?? error.message}): ` +
    `run it as uid 0 with ${capability} in its container's securityContext.capabilities.add.`
  );
}
