/** A node's directories, as the installer sees them, in a temporary place. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock, type Clock } from "../../../core/base/clock.ts";
import { silentLog } from "../../../core/base/log.ts";
import { chooseFile, isConfName, namesPlugin, parseConfFile, pluginType, type UsableFile } from "../conf-file.ts";
import { nodeDisk, type Disk } from "../disk.ts";
import { Installer, type InstallerOptions } from "../installer.ts";
import { withoutType } from "../list-text.ts";

export const bridgeList = `{
  "cniVersion": "1.0.0",
  "name": "k8s",
  "plugins": [
    {"type": "bridge", "bridge": "cni0", "ipam": {"type": "host-local"}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`;
export const bridgeSingle = '{"cniVersion":"0.4.0", "name":"k8s", "type":"bridge", "ipam":{"type":"host-local"}}\n';

export class NodeDirectory {
  readonly path = mkdtempSync(join(tmpdir(), "ambient-install-"));

  constructor(files: Readonly<Record<string, string>> = { "10-bridge.conflist": bridgeList }) {
    for (const name of ["bin", "conf", "run", "image"]) mkdirSync(join(this.path, name));
    for (const [name, text] of Object.entries(files)) this.write(name, text);
    this.release("first release");
  }

  /** Puts another executable into the image. */
  release(text: string): void {
    writeFileSync(join(this.path, "image", pluginType), text);
    chmodSync(join(this.path, "image", pluginType), 0o755);
  }

  options(): Omit<InstallerOptions, "disk" | "confName"> {
    return {
      binDir: join(this.path, "bin"),
      confDir: join(this.path, "conf"),
      pluginSource: join(this.path, "image", pluginType),
      config: {
        runDir: join(this.path, "run"),
        excludeNamespaces: ["kube-system", "ambient-system"],
        logLevel: "info",
      },
      log: silentLog,
      clock: systemClock,
    };
  }

  installer(more: { disk?: Disk; confName?: string; clock?: Clock } = {}): Installer {
    return new Installer({ ...this.options(), ...more });
  }

  write(name: string, text: string, mode = 0o644): void {
    writeFileSync(join(this.path, "conf", name), text);
    chmodSync(join(this.path, "conf", name), mode);
  }

  read(name: string): string {
    return readFileSync(join(this.path, "conf", name), "utf8");
  }

  modeOf(name: string): number {
    return statSync(join(this.path, "conf", name)).mode & 0o777;
  }

  conf(): Record<string, string> {
    return contents(join(this.path, "conf"));
  }

  bin(): Record<string, string> {
    return contents(join(this.path, "bin"));
  }

  /** The file that a runtime uses now. */
  used(): UsableFile | undefined {
    const names = readdirSync(join(this.path, "conf")).filter(isConfName);
    return chooseFile(names.map((name) => parseConfFile(name, this.read(name))));
  }

  /** What a runtime would miss: a configuration that works, its owner's plugins in it, and no executable that isn't whole. */
  damage(owner: readonly string[]): string | undefined {
    const used = this.used();
    if (used === undefined) return "there is no configuration";
    const list = used.kind === "list" ? withoutType(used.text, pluginType) : used.text;
    const bare = parseConfFile(used.name, list);
    const plugins = bare.kind === "list" ? bare.plugins : bare.kind === "single" ? [bare.fields] : [];
    const types = plugins.map(({ type }) => String(type));
    if (types.join() !== owner.join()) return `the chain is ${types.join()}`;
    if (!namesPlugin(used)) return undefined;
    const path = join(this.path, "bin", pluginType);
    if (!existsSync(path)) return "the chain names an executable that isn't there";
    const releases = ["first release", "second release"];
    if (!releases.includes(readFileSync(path, "utf8"))) return "the executable isn't whole";
    return (statSync(path).mode & 0o111) === 0 ? "the executable can't be executed" : undefined;
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** A disk on which every step that changes something is told, with its number, before it happens. */
export function watchedDisk(before: (step: number, name: string, half: () => void) => void | Promise<void>): Disk {
  let step = 0;
  const at = (name: string, half: () => void = () => undefined) => before(step++, name, half);
  return {
    ...nodeDisk,
    async writeNew(path, text, mode) {
      await at("writeNew", () => writeFileSync(path, text.slice(0, text.length / 2)));
      await nodeDisk.writeNew(path, text, mode);
    },
    async copyNew(source, path, mode) {
      await at("copyNew", () => writeFileSync(path, "half"));
      await nodeDisk.copyNew(source, path, mode);
    },
    async rename(from, to) {
      await at("rename");
      await nodeDisk.rename(from, to);
    },
    async remove(path) {
      await at("remove");
      await nodeDisk.remove(path);
    },
    async syncDirectory(path) {
      await at("syncDirectory");
      await nodeDisk.syncDirectory(path);
    },
  };
}

function contents(directory: string): Record<string, string> {
  return Object.fromEntries(readdirSync(directory).map((name) => [name, readFileSync(join(directory, name), "utf8")]));
}
