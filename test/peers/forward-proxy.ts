/** HTTP/1.1's CONNECT, both ends of it: what stands before or behind a foreign HTTP/2 proxy. */
import { createServer, request } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import type { Endpoint } from "../../core/base/ip.ts";

/** Asks a forward proxy for a connection to an authority. @returns the status, where it is not 200. */
export function throughProxy(proxy: Endpoint, authority: string): Promise<Socket | number> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: proxy.address, port: proxy.port, method: "CONNECT", path: authority, agent: false });
    asked.once("connect", ({ statusCode = 0 }, socket) => {
      // The request's socket is not half-open by itself.
      socket.allowHalfOpen = true;
      if (statusCode === 200) return resolve(socket);
      socket.destroy();
      resolve(statusCode);
    });
    asked.once("response", ({ statusCode = 0 }) => (asked.destroy(), resolve(statusCode)));
    asked.once("error", reject);
    asked.end();
  });
}

/** A forward proxy on 127.0.0.1 that knows these authorities, and answers 502 for others. */
export async function startForwardProxy(
  known: Readonly<Record<string, Endpoint>>,
): Promise<Endpoint & { readonly close: () => void }> {
  const sockets = new Set<{ destroy: () => void }>();
  const server = createServer();
  server.on("connect", ({ url = "" }, client, head) => {
    const endpoint = known[url];
    client.on("error", () => client.destroy());
    if (endpoint === undefined) return void client.end("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
    const application = connect({ host: endpoint.address, port: endpoint.port, allowHalfOpen: true, noDelay: true });
    sockets.add(client).add(application);
    application.on("error", () => client.destroy());
    client.on("close", () => application.destroy());
    application.once("connect", () => {
      client.write("HTTP/1.1 200 OK\r\n\r\n");
      application.write(head);
      client.pipe(application).pipe(client);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    address: "127.0.0.1",
    port: (server.address() as AddressInfo).port,
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
