/** A pod of ours with the applications of the recordings, and one who says the client's half of a recorded conversation to it. */
import { connect as connectTls, type ConnectionOptions } from "node:tls";
import { alpn, secureOptions } from "../../agent/tunnel/tls.ts";
import { engineOf, type EngineName } from "../support/engines.ts";
import { root } from "../support/hbone-pair.ts";
import { identityOf, testIdentity } from "../support/identities.ts";
import { application, LoopbackMesh } from "../support/loopback-mesh.ts";
import { pod, policy, ruleOf } from "../support/mesh.ts";
import { until } from "../support/until.ts";
import { Heard } from "./conversations.ts";
import { FramePeer, isArtefact, isEnd, type Recorded, type Step } from "./recorded.ts";

export class Stage {
  readonly mesh: LoopbackMesh;
  /** What the applications heard, in the order in which they were connected to. */
  readonly heard: Heard[] = [];
  readonly #apps: { close: () => void }[] = [];
  #peer: FramePeer | undefined;
  isDraining = false;

  private constructor(mesh: LoopbackMesh) {
    this.mesh = mesh;
  }

  /** @param plays what the application at each port does. @param denied the port that a policy keeps. */
  static async open(
    engine: EngineName,
    plays: Readonly<Record<number, (heard: Heard) => void>>,
    denied: number,
  ): Promise<Stage> {
    const stage = new Stage(new LoopbackMesh(engineOf(engine).meshOptions));
    const policies = [policy("default/denied", { action: "deny", rules: [ruleOf({ destinationPorts: [denied] })] })];
    stage.mesh.apply({ policies, workloads: [pod("default/a", clientAddress), pod("default/b", podAddress)] });
    const { hbonePort } = await stage.mesh.serve("default/b", podAddress);
    for (const [port, begin] of Object.entries(plays))
      stage.#apps.push(await application(podAddress, (socket) => begin(stage.#hear(new Heard(socket))), Number(port)));
    const options: ConnectionOptions & { readonly localAddress: string } = {
      ...secureOptions(testIdentity(root, identityOf("a"))),
      host: podAddress,
      port: hbonePort,
      localAddress: clientAddress,
      ALPNProtocols: alpn,
      checkServerIdentity: () => undefined,
    };
    const tls = connectTls(options);
    await new Promise((resolve) => tls.once("secureConnect", resolve));
    stage.#peer = new FramePeer(tls, false);
    return stage;
  }

  get peer(): FramePeer {
    if (this.#peer === undefined) throw new Error("not open");
    return this.#peer;
  }

  /** Says what the recorded client said, and what answered something not before that is answered here, too. */
  async replay({ conversation, case: name, server }: Recorded): Promise<void> {
    let octets = 0;
    for (const [index, step] of conversation.entries()) {
      if (step.note === "SIGTERM to the server") {
        this.isDraining = true;
        this.mesh.send({ kind: "drain", deadlineMs: 20_000 });
      } else if (step.dir === "client" && !isArtefact(step, conversation[index + 1])) {
        // What ends the conversation, but for the one that we end.
        if (step.type === "GOAWAY" && !this.isDraining) return;
        this.#say(step);
      } else if (step.dir === "server") {
        if (step.type === "DATA" && step.stream === 1) octets += (step.payload ?? "").length / 2;
        await this.#answered(step, octets);
        if (server === undefined && name === "application resets" && isEnd(step))
          this.heard[0]?.socket.resetAndDestroy();
      }
    }
  }

  #say(step: Step): void {
    const ours = this.peer.of("PING")[0]?.payload.toString("hex");
    // It answers the PING that it got.
    this.peer.say(step.type === "PING" && step.flags === 1 && ours !== undefined ? { ...step, payload: ours } : step);
  }

  /** What is waited for are answers and data; how we end is looked at in the end. */
  async #answered(step: Step, octets: number): Promise<void> {
    const { peer } = this;
    switch (step.type) {
      case "SETTINGS":
        return void (await until("our SETTINGS", 5_000, () =>
          peer.of("SETTINGS").some((one) => one.flags === step.flags),
        ));
      case "HEADERS":
        return void (await until("our answer", 5_000, () => peer.head(1)));
      case "DATA":
        return void (await until("our data", 5_000, () => peer.data(1).length >= octets));
      case "PING":
        if (step.flags === 1) return peer.pong(step.payload ?? "");
        return void (await until("our PING", 5_000, () => peer.of("PING")[0]));
      case "GOAWAY":
        if (!this.isDraining) return;
        return void (await until("our GOAWAY", 5_000, () =>
          peer.of("GOAWAY").some(({ payload }) => payload.subarray(0, 8).toString("hex") === step.payload),
        ));
      default:
        return;
    }
  }

  #hear(heard: Heard): Heard {
    this.heard.push(heard);
    return heard;
  }

  close(): void {
    this.#peer?.close();
    for (const app of this.#apps) app.close();
    this.mesh.close();
  }
}

const [clientAddress, podAddress] = ["10.77.0.2", "10.77.0.3"];
