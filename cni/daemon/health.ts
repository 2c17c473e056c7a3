/** GET /readyz and /healthz, for the kubelet. */
import { createServer, type Server } from "node:http";
import { fromNode, type LinuxError } from "../../core/linux/errno.ts";

/** @param missing what new pods still lack on this node, a sentence each; none: ready. */
export async function serveHealth(
  { host, port }: { readonly host: string; readonly port: number },
  missing: () => readonly string[],
): Promise<Server | LinuxError> {
  const server = createServer((request, response) => {
    const path = (request.url ?? "").split("?")[0];
    if (path === "/healthz") return void response.writeHead(200).end("ok\n");
    if (path !== "/readyz") return void response.writeHead(404).end("there are /readyz and /healthz here\n");
    const lacking = missing();
    response.writeHead(lacking.length === 0 ? 200 : 503, { "content-type": "text/plain; charset=utf-8" });
    response.end(lacking.length === 0 ? "ok\n" : lacking.map((sentence) => `${sentence}\n`).join(""));
  });
  const { promise, resolve } = Promise.withResolvers<Server | LinuxError>();
  server.once("error", (error) => resolve(fromNode(error, "listen", `${host} port ${port}`)));
  server.listen({ host, port }, () => resolve(server));
  return promise;
}
