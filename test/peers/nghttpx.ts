/** nghttpx, nghttp2's proxy, that runs for a test: as HBONE client in front of a tunnel port, or as HBONE server. */
import { spawn, type ChildProcess } from "node:child_process";
import { connect } from "node:net";
import type { Endpoint } from "../../core/base/ip.ts";
import { until } from "../support/until.ts";
import type { PemFiles } from "./pem-files.ts";

export class Nghttpx {
  readonly #child: ChildProcess;
  #log = "";

  private constructor(program: readonly string[], argv: readonly string[]) {
    const all = [
      "--conf=/dev/null",
      "--no-ocsp",
      "--workers=1",
      "--single-process",
      "--http2-proxy",
      ...limits,
      ...argv,
    ];
    // It must not stay when the test's process was killed.
    this.#child = spawn("setpriv", ["--pdeathsig", "KILL", ...program, ...all], { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.on("data", (chunk) => (this.#log += String(chunk)));
  }

  /** A forward proxy in clear (HTTP/1.1 CONNECT) whose connections become CONNECT streams to one tunnel port. */
  static async client(program: readonly string[], listen: Endpoint, server: Endpoint, as: PemFiles): Promise<Nghttpx> {
    const backend = `--backend=${server.address},${server.port};;tls;proto=h2`;
    const certificate = [`--client-cert-file=${as.certificate}`, `--client-private-key-file=${as.key}`];
    const frontend = `--frontend=${listen.address},${listen.port};no-tls`;
    // Insecure: it knows host names only, and a SPIFFE certificate has none.
    return Nghttpx.#start(program, listen, [frontend, backend, "--insecure", ...certificate]);
  }

  /** Ends tunnels, and hands what is in them to a forward proxy (HTTP/1.1 CONNECT). */
  static async server(program: readonly string[], listen: Endpoint, proxy: Endpoint, as: PemFiles): Promise<Nghttpx> {
    const verify = ["--verify-client", `--verify-client-cacert=${as.roots}`];
    const frontend = `--frontend=${listen.address},${listen.port}`;
    return Nghttpx.#start(program, listen, [
      frontend,
      `--backend=${proxy.address},${proxy.port}`,
      ...verify,
      as.key,
      as.certificate,
    ]);
  }

  static async #start(program: readonly string[], listen: Endpoint, argv: readonly string[]): Promise<Nghttpx> {
    const nghttpx = new Nghttpx(program, argv);
    await until("nghttpx listens", 10_000, () => {
      if (nghttpx.#child.exitCode !== null) throw new Error(nghttpx.#log);
      return answers(listen);
    });
    return nghttpx;
  }

  get log(): string {
    return this.#log;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill("SIGKILL");
    await new Promise((resolve) => this.#child.once("close", resolve));
  }
}

function answers({ address, port }: Endpoint): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    socket.once("connect", () => (socket.destroy(), resolve(true)));
    socket.once("error", () => resolve(false));
  });
}

/** nghttpx's own: 8 connections to one place. */
const limits = ["--backend-connections-per-host=1000"];
