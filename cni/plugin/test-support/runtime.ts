/** What a container runtime does with a conflist: CNI spec, section 3 "Execution of network configurations". */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { callPlugin, type PluginAnswer } from "./call-plugin.ts";

export interface Container {
  readonly id: string;
  /** Path; empty where the namespace has gone. */
  readonly netns: string;
  /** `namespace/name`. */
  readonly pod: string;
}

type Json = Record<string, unknown>;

export class Runtime {
  readonly #binDirs: readonly string[];
  readonly #file: string;
  readonly #results = new Map<string, unknown>();

  constructor(binDirs: readonly string[], file: string) {
    this.#binDirs = binDirs;
    this.#file = file;
  }

  /** Every plugin in turn, each given the result of the one before. @throws the report of the one that fails. */
  async add(container: Container): Promise<Json> {
    let prevResult: unknown;
    for (const plugin of this.#plugins()) {
      const { stdout } = await this.#run("ADD", plugin, container, prevResult);
      prevResult = JSON.parse(stdout) as unknown;
    }
    this.#results.set(container.id, prevResult);
    return prevResult as Json;
  }

  async check(container: Container): Promise<void> {
    for (const plugin of this.#plugins()) await this.#run("CHECK", plugin, container, this.#results.get(container.id));
  }

  /** In the opposite order. */
  async del(container: Container): Promise<void> {
    for (const plugin of this.#plugins().reverse())
      await this.#run("DEL", plugin, container, this.#results.get(container.id));
  }

  async #run(verb: string, plugin: Json, { id, netns, pod }: Container, prevResult: unknown): Promise<PluginAnswer> {
    const { cniVersion, name } = this.#list();
    const [namespace, podName] = pod.split("/");
    const answer = await callPlugin([this.#find(String(plugin["type"]))], {
      env: {
        CNI_COMMAND: verb,
        CNI_CONTAINERID: id,
        CNI_NETNS: netns === "" ? undefined : netns,
        CNI_IFNAME: "eth0",
        CNI_PATH: this.#binDirs.join(":"),
        CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${podName};K8S_POD_INFRA_CONTAINER_ID=${id}`,
        PATH: process.env["PATH"],
      },
      stdin: JSON.stringify({ ...plugin, cniVersion, name, ...(prevResult !== undefined && { prevResult }) }),
    });
    if (answer.code !== 0) throw new Error(`${verb} of ${String(plugin["type"])}: ${answer.stdout}${answer.stderr}`);
    return answer;
  }

  #find(type: string): string {
    const found = this.#binDirs.find((directory) => existsSync(join(directory, type)));
    if (found === undefined) throw new Error(`failed to find plugin "${type}" in path [${this.#binDirs.join(" ")}]`);
    return join(found, type);
  }

  #plugins(): Json[] {
    return this.#list()["plugins"] as Json[];
  }

  #list(): Json {
    return JSON.parse(readFileSync(this.#file, "utf8")) as Json;
  }
}
