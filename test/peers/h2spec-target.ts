/** Servers that h2spec is let loose on, each behind a helper that shows the client certificate. */
import { createSecureServer, type ServerHttp2Session } from "node:http2";
import type { AddressInfo } from "node:net";
import { nobody, pauseReasons, type ByteEnd, type EndListener } from "../../agent/relay/byte-end.ts";
import type { EngineName } from "../../agent/tunnel/engine.ts";
import type { IncomingStream } from "../../agent/tunnel/hbone-server.ts";
import { secureOptions } from "../../agent/tunnel/tls.ts";
import { tunnelLimits } from "../../agent/tunnel/tunnel.ts";
import { alice, bob, startServer } from "../support/hbone-pair.ts";
import { forwardWithCertificate } from "./mutual-tls-forwarder.ts";

/**
 * `node-reference`: Node's own HTTP/2 server behind mutual TLS, with the same SETTINGS. The others: what serves a pod's
 * 15008 with that engine, and a handler of the tests.
 */
export type H2specEngine = "node-reference" | EngineName;

export interface H2specTarget {
  /** In clear, on 127.0.0.1: prior knowledge. */
  readonly port: number;
  readonly close: () => Promise<void>;
}

/**
 * Every request, whatever its method, is answered with 200 and a body a moment after it has been read to its end: h2spec's offending
 * frame comes right behind the request, and is no offence any more once the stream has been answered and closed.
 */
export async function startH2specTarget(engine: H2specEngine): Promise<H2specTarget> {
  const server =
    engine === "node-reference" ? await startReference() : await startServer({ onStream: answer, engine, limits });
  const forwarder = await forwardWithCertificate({ host: "127.0.0.1", port: server.port }, alice);
  return {
    port: forwarder.port,
    close: async () => {
      await forwarder.close();
      await server.close();
    },
  };
}

/** Not what an agent answers: h2spec knows GET and POST only. */
function answer(incoming: IncomingStream): void {
  const stream = incoming.accept({ ":status": 200 });
  stream.listener = bodyAtTheEnd;
  stream.resume(pauseReasons.unjoined);
}

const bodyAtTheEnd: EndListener = {
  ...nobody,
  ended: (from: ByteEnd) => {
    setTimeout(() => {
      from.write(body);
      from.end();
    }, thinkingMs);
  },
};

async function startReference(): Promise<{ port: number; close: () => Promise<void> }> {
  const server = createSecureServer({
    ...secureOptions(bob),
    requestCert: true,
    rejectUnauthorized: true,
    settings: {
      initialWindowSize: limits.streamWindow,
      maxFrameSize: limits.maxFrameSize,
      maxHeaderListSize: tunnelLimits.serverHeaderList,
      maxConcurrentStreams: tunnelLimits.serverStreams,
    },
  });
  server.on("stream", (stream) => {
    stream.on("error", () => {});
    stream.respond({ ":status": 200 });
    stream.once("end", () => setTimeout(() => stream.end(body), thinkingMs));
    stream.resume();
  });
  server.on("sessionError", () => {});
  const sessions = new Set<ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    // Not waited for: Node 24 loses count of the connections that h2spec has broken.
    close: async () => {
      for (const session of sessions) session.destroy();
      server.close();
    },
  };
}

/** h2spec wants five octets at least, to see windows at work. */
const body = Buffer.from("The quick brown fox jumps over the lazy dog.\n");
const thinkingMs = 20;
/** As shipped, but for the frame size: h2spec takes the smallest for granted, and its too large frame is none within our 1 MiB. */
const limits = { ...tunnelLimits, maxFrameSize: 16_384 };
