/**
 * Two pods as they are on a node: in network namespaces of their own, captured by real rules, served by one worker through real sockets.
 * `default/alice` is joined to `default/bob` by one link, and by another to a place outside of the mesh. A test may cramp alice first.
 */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { AccessLog } from "../../agent/access-log/access-log.ts";
import { Pods } from "../../agent/pods.ts";
import type { WorkerSettings } from "../../agent/worker/context.ts";
import { DataPlaneWorker } from "../../agent/worker/worker.ts";
import { enrolRules, podRouting } from "../../cni/daemon/rules.ts";
import { systemClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { createNetworkNamespace, inNamespace } from "../../core/linux/namespace.ts";
import { addAddress } from "../../core/linux/netlink/addresses.ts";
import { createVeth, settleLink, setUp } from "../../core/linux/netlink/links.ts";
import { addRoute } from "../../core/linux/netlink/routes.ts";
import { addRule } from "../../core/linux/netlink/rules.ts";
import { applyTransaction } from "../../core/linux/nftables/apply.ts";
import { closeDescriptor, connectTcp, duplicateDescriptor, listenTcp } from "../../core/linux/sockets.ts";
import { createPrivateKey } from "node:crypto";
import { alice, bob } from "../support/hbone-pair.ts";
import type { LogLine } from "../support/loopback-mesh.ts";
import { pod } from "../support/mesh.ts";
import { until } from "../support/until.ts";
import { workerSettings } from "../support/worker-settings.ts";

export type Place = "alice" | "bob" | "outside";

export const addresses = { alice: "10.99.1.2", bob: "10.99.1.3", outside: "10.99.2.3" } as const;

/** Net sysctls of a namespace by their names below /proc/sys/net. */
export type Sysctls = Readonly<Record<string, string>>;

export class CapturedPods {
  readonly netns: Readonly<Record<Place, number>>;
  readonly lines: LogLine[] = [];
  readonly #worker: DataPlaneWorker;
  readonly #pods: Pods;
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();

  private constructor(settings: Partial<WorkerSettings>) {
    const [one, two, three] = [createNetworkNamespace(), createNetworkNamespace(), createNetworkNamespace()];
    this.netns = { alice: one, bob: two, outside: three };
    const write = (text: string): boolean => {
      for (const line of text.trim().split("\n")) this.lines.push(JSON.parse(line) as LogLine);
      return true;
    };
    const log = silentLog;
    const [clock, packetMark] = [systemClock, 1337];
    this.#worker = new DataPlaneWorker(
      { index: 0, settings: { ...workerSettings, packetMark, connectDeadlineMs: 5_000, ...settings } },
      {
        clock,
        log,
        accessLog: new AccessLog({ clock, worker: 0, node: "node1", write }),
        send: (message) => {
          if ("uid" in message) this.#pods.receive(message, 0);
        },
      },
    );
    this.#pods = new Pods(
      { packetMark, ipv6: true, originalSource: true, lingerMs: 0 },
      {
        clock,
        log,
        workers: () => [0],
        broadcast: (message) => this.#worker.receive(message),
        serve: (_, delivery) => this.#worker.receive({ kind: "serve", pod: delivery }),
        onChange: () => {},
      },
    );
  }

  /** @param cramped set in alice's namespace before anything listens there. */
  static async open(cramped: Sysctls = {}, settings: Partial<WorkerSettings> = {}): Promise<CapturedPods> {
    const world = new CapturedPods(settings);
    await world.#join("alice", "eth0", "bob", [addresses.alice, addresses.bob]);
    await world.#join("alice", "eth1", "outside", ["10.99.2.2", addresses.outside]);
    for (const [name, value] of Object.entries(cramped)) world.#sysctl("alice", name, value);
    world.#worker.receive({
      kind: "mesh",
      sequence: 1,
      update: {
        workloads: [pod("default/alice", addresses.alice), pod("default/bob", addresses.bob)],
        policiesComplete: true,
      },
    });
    for (const { identity, chain, key, roots, notAfter } of [alice, bob]) {
      const delivery = { identity, key: createPrivateKey(key), chainPem: [chain], rootsPem: roots, notAfter };
      world.#worker.receive({ kind: "certificate", delivery });
    }
    for (const name of ["alice", "bob"] as const) await world.#serve(name);
    return world;
  }

  /** An application that sends back what it hears. @returns what it has accepted. */
  async application(at: Place, port: number): Promise<readonly Socket[]> {
    const accepted: Socket[] = [];
    const listener = listenTcp({ netns: this.netns[at], address: addresses[at], port, backlog: 4_096 });
    if (listener instanceof LinuxError) throw listener;
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      accepted.push(this.#keep(socket));
      socket.pipe(socket);
    });
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen({ fd: listener.fd }, resolve));
    return accepted;
  }

  /** An application connects. @param port where from; the kernel chooses if none is said. */
  connect(from: Place, to: Place, port: number, fromPort?: number): Dialled {
    const address = to === "outside" ? "10.99.2.2" : addresses[from];
    const local = fromPort === undefined ? {} : { local: { address, port: fromPort } };
    const socket = connectTcp({ netns: this.netns[from], remote: { address: addresses[to], port }, ...local });
    return new Dialled(this.#keep(socket));
  }

  /** Rules of a test's own in a namespace, in nft's own words. */
  nft(at: Place, text: string): void {
    const { status, stderr } = inNamespace(this.netns[at], () => spawnSync("nft", ["-f", "-"], { input: text }));
    if (status !== 0) throw new Error(String(stderr));
  }

  /** The access log's lines with this code, once there are so many. */
  refused(reason: string, count: number): Promise<readonly LogLine[]> {
    return until(`${count} lines with ${reason}`, 10_000, () => {
      const found = this.lines.filter((line) => line["reason"] === reason);
      return found.length >= count && found;
    });
  }

  close(): void {
    this.#pods.stopOthers(new Set());
    this.#worker.receive({ kind: "drain", deadlineMs: 0 });
    for (const server of this.#servers) server.close();
    for (const socket of this.#sockets) socket.destroy();
    for (const fd of Object.values(this.netns)) closeDescriptor(fd);
  }

  async #join(one: Place, link: string, other: Place, ends: readonly [string, string]): Promise<void> {
    const [netns, far] = [this.netns[one], this.netns[other]];
    done(await createVeth({ name: link, netns, peer: { name: "eth0", netns: far } }));
    done(await addAddress({ interface: link, address: ends[0], prefix: 24, netns }));
    done(await addAddress({ interface: "eth0", address: ends[1], prefix: 24, netns: far }));
    for (const side of [netns, far]) done(await setUp("lo", { netns: side }));
    done(await setUp(link, { netns }));
    done(await setUp("eth0", { netns: far }));
    done(await settleLink(link, { netns }));
    done(await settleLink("eth0", { netns: far }));
  }

  async #serve(name: "alice" | "bob"): Promise<void> {
    const netns = this.netns[name];
    const copy = duplicateDescriptor(netns);
    if (copy instanceof LinuxError) throw copy;
    const failed = await this.#pods.serve(`uid-${name}`, { namespace: "default", name, serviceAccount: name }, copy);
    if (failed !== undefined) throw failed;
    const { rules, routes } = podRouting(false);
    for (const rule of rules) done(await addRule({ ...rule, netns }));
    for (const route of routes) done(await addRoute({ ...route, netns }));
    done(await applyTransaction(netns, enrolRules({ dnsCapture: false, ipv6: false })));
  }

  #sysctl(at: Place, name: string, value: string): void {
    inNamespace(this.netns[at], () => writeFileSync(`/proc/sys/net/${name}`, value));
  }

  #keep(socket: Socket): Socket {
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => this.#sockets.delete(socket));
    return socket;
  }
}

/** An application's connection. */
export class Dialled {
  readonly socket: Socket;
  #error: string | undefined;
  #heard = "";

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => (this.#heard += chunk.toString("latin1")));
    socket.on("error", (error: NodeJS.ErrnoException) => (this.#error ??= error.code ?? error.message));
    socket.resume();
  }

  /** @returns whether it comes back, or the error that came instead. */
  async echo(words: string): Promise<true | string> {
    const [before, wanted] = [this.#heard.length, words.length];
    this.socket.write(words);
    return until("an echo or an error", 20_000, () => {
      if (this.#error !== undefined) return this.#error;
      return this.#heard.length >= before + wanted && this.#heard.slice(before) === words;
    });
  }
}

function done(failure: LinuxError | undefined): void {
  if (failure !== undefined) throw failure;
}
