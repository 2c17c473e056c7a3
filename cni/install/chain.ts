/** Our entry in the chain of CNI plugins that the runtime uses. A file is replaced as a whole or not at all, there is never a moment
 *  without a configuration, and what others write to it while we do is kept. */
import { join } from "node:path";
import type { JsonObject } from "../../core/protocol/cni/json-reader.ts";
import {
  byName,
  chainedText,
  chooseFile,
  hasEntry,
  isConfName,
  listOf,
  namesPlugin,
  obstacleTo,
  parseConfFile,
  pluginType,
  type ConfFile,
  type UsableFile,
} from "./conf-file.ts";
import type { Disk, FileState, HeldFile } from "./disk.ts";
import { InstallError } from "./errors.ts";
import { withoutType } from "./list-text.ts";

export interface ChainOptions {
  readonly disk: Disk;
  readonly confDir: string;
  /** File to extend, where it isn't to be the first valid one. */
  readonly confName?: string;
  readonly entry: JsonObject;
  readonly token: string;
  /** Now, as the file system's times are: milliseconds since 1970. */
  readonly wallMs: () => number;
}

export type ChainOutcome =
  | { readonly kind: "chained"; readonly file: string; readonly changed: boolean }
  /** No usable file yet: another CNI has to write it. */
  | { readonly kind: "waiting"; readonly reason: string };

export class Chain {
  readonly #options: ChainOptions;
  /** Replaced files that somebody may still be writing to. */
  #held: { readonly name: string; readonly file: HeldFile; readonly untilMs: number }[] = [];

  constructor(options: ChainOptions) {
    this.#options = options;
  }

  /** Whether another look is due soon, although nothing may tell of a change. */
  get unsettled(): boolean {
    return this.#held.length > 0;
  }

  async ensure(): Promise<ChainOutcome | InstallError> {
    await this.#adoptLateWrites();
    for (let attempt = 0; attempt < attempts; attempt++) {
      const outcome = await this.#attempt();
      if (outcome !== "overtaken") return outcome;
    }
    return new InstallError({ code: "install.contended", file: this.#options.confDir });
  }

  /** Why the runtime's file must be left alone, as far as can be told now. */
  async obstacle(): Promise<InstallError | undefined> {
    const found = await this.#read();
    const files = found.map(({ file }) => file);
    const chosen = chooseFile(files, this.#options.confName);
    return chosen === undefined ? undefined : obstacleIn(found, chosen);
  }

  /** Takes the entry out of every file; one that nobody else has changed is as it was before, byte for byte. */
  async remove(): Promise<InstallError | undefined> {
    await this.close();
    for (let attempt = 0; attempt < attempts; attempt++) {
      await this.#restoreSingles();
      const outcome = await this.#strip(await this.#read());
      if (outcome === "overtaken") continue;
      await this.removeUnfinished();
      const left = (await this.#read()).find(({ file }) => namesPlugin(file));
      if (left === undefined) return undefined;
    }
    return new InstallError({ code: "install.still-named", file: this.#options.confDir });
  }

  /** Lets go of what has been replaced. */
  async close(): Promise<void> {
    for (const held of this.#held.splice(0)) await held.file.close();
  }

  /** What an installer left that ended in the middle of a write. */
  async removeUnfinished(): Promise<void> {
    const { disk, confDir } = this.#options;
    const stale = (await disk.names(confDir)).filter((name) => name.startsWith(unfinished));
    for (const name of stale) await disk.remove(join(confDir, name));
  }

  async #attempt(): Promise<ChainOutcome | InstallError | "overtaken"> {
    const { confName, entry, wallMs } = this.#options;
    const found = await this.#read();
    const chosen = chooseFile(
      found.map(({ file }) => file),
      confName,
    );
    const half = found.find(
      ({ file, state }) =>
        file.kind === "invalid" &&
        (chosen === undefined || byName(file.name, chosen.name) < 0) &&
        Math.abs(wallMs() - state.stamp.modifiedMs) < halfWrittenMs,
    );
    if (half !== undefined) return { kind: "waiting", reason: `${half.file.name} is being written` };
    if (chosen === undefined) return { kind: "waiting", reason: missingReason(confName) };
    const obstacle = obstacleIn(found, chosen);
    if (obstacle !== undefined) return obstacle;
    const others = found.filter(({ file }) => file.name !== chosen.name && file.name !== listName(chosen));
    if (hasEntry(chosen, entry)) {
      if ((await this.#strip(others)) === "overtaken") return "overtaken";
      return { kind: "chained", file: chosen.name, changed: false };
    }
    const outcome = await this.#extend(chosen, found);
    if (outcome === "overtaken") return outcome;
    if ((await this.#strip(others)) === "overtaken") return "overtaken";
    return { kind: "chained", file: listName(chosen), changed: true };
  }

  async #extend(chosen: UsableFile, found: readonly Found[]): Promise<"done" | "overtaken"> {
    const { entry, disk, confDir } = this.#options;
    const state = stateOf(found, chosen.name);
    const text = chainedText(chosen, entry);
    if (chosen.kind === "list") return this.#replace(chosen.name, state, text);
    const target = listName(chosen);
    // The runtime goes on using the single file until that is moved away: from one configuration to the other in one step.
    await this.#write(target, text, state.stamp.mode);
    if ((await disk.stamp(join(confDir, chosen.name)))?.id !== state.stamp.id) return "overtaken";
    await disk.rename(join(confDir, chosen.name), join(confDir, `${chosen.name}${setAside}`));
    await disk.syncDirectory(confDir);
    return "done";
  }

  /** `.conf` files that were made lists: their owner's file comes back, and the list goes after it. */
  async #restoreSingles(): Promise<void> {
    const { disk, confDir } = this.#options;
    const names = await disk.names(confDir);
    for (const aside of names.filter((name) => name.endsWith(setAside))) {
      const name = aside.slice(0, -setAside.length);
      const state = await disk.read(join(confDir, aside));
      if (state === undefined) continue;
      const original = parseConfFile(name, state.text);
      if (original.kind !== "single") continue;
      const target = listName(original);
      const list = (await disk.read(join(confDir, target)))?.text;
      const isOurs = list !== undefined && untouched(target, list, listOf(original.fields));
      // A new one of its owner's, or a list that somebody works on, is more than the old one.
      if (isOurs && !names.includes(name)) await this.#write(name, original.text, state.stamp.mode);
      // What was set aside goes last: whoever ends in between finds out by it what is left to do.
      if (isOurs) await disk.remove(join(confDir, target));
      await disk.remove(join(confDir, aside));
      await disk.syncDirectory(confDir);
    }
  }

  async #strip(found: readonly Found[]): Promise<"done" | "overtaken"> {
    const { disk, confDir } = this.#options;
    for (const { file, state } of found) {
      if (file.kind !== "list" || !namesPlugin(file)) continue;
      const text = withoutType(file.text, pluginType);
      const isEmpty = file.plugins.every(({ type }) => type === pluginType);
      if (isEmpty) await disk.remove(join(confDir, file.name));
      else if ((await this.#replace(file.name, state, text)) === "overtaken") return "overtaken";
    }
    return "done";
  }

  /** Unless the file is another than was read. Who writes to the replaced file from before is heard a little later. */
  async #replace(name: string, { stamp }: FileState, text: string): Promise<"done" | "overtaken"> {
    const { disk, confDir, token, wallMs } = this.#options;
    const path = join(confDir, name);
    const temporary = join(confDir, `${unfinished}${token}`);
    const held = await disk.hold(path);
    let replaced = false;
    try {
      if (held.stamp.id !== stamp.id) return "overtaken";
      await disk.remove(temporary);
      await disk.writeNew(temporary, text, stamp.mode);
      if ((await disk.stamp(path))?.id !== stamp.id) return "overtaken";
      await disk.rename(temporary, path);
      replaced = true;
      this.#held.push({ name, file: held, untilMs: wallMs() + lateWriteMs });
      await disk.syncDirectory(confDir);
      return "done";
    } finally {
      if (!replaced) {
        await held.close();
        await disk.remove(temporary).catch(() => undefined);
      }
    }
  }

  async #write(name: string, text: string, mode: number): Promise<void> {
    const { disk, confDir, token } = this.#options;
    const temporary = join(confDir, `${unfinished}${token}`);
    try {
      await disk.remove(temporary);
      await disk.writeNew(temporary, text, mode);
      await disk.rename(temporary, join(confDir, name));
    } catch (thrown) {
      await disk.remove(temporary).catch(() => undefined);
      throw thrown;
    }
    await disk.syncDirectory(confDir);
  }

  /** Somebody had the file open when we replaced it and wrote to what nobody reads any more: that is what they meant to be there. */
  async #adoptLateWrites(): Promise<void> {
    const { disk, confDir, wallMs } = this.#options;
    for (const held of [...this.#held]) {
      const text = await held.file.changedText();
      const meant = text === undefined ? undefined : parseConfFile(held.name, text);
      const isMeant = text !== undefined && meant !== undefined && meant.kind !== "invalid";
      if (!isMeant && wallMs() < held.untilMs) continue;
      if (isMeant) {
        const state = await disk.read(join(confDir, held.name));
        const chained = meant.kind === "list" ? chainedText(meant, this.#options.entry) : text;
        if (state !== undefined) await this.#write(held.name, chained, state.stamp.mode);
      }
      this.#held = this.#held.filter((other) => other !== held);
      await held.file.close();
    }
  }

  async #read(): Promise<Found[]> {
    const { disk, confDir } = this.#options;
    const found: Found[] = [];
    for (const name of (await disk.names(confDir)).filter(isConfName)) {
      const state = await disk.read(join(confDir, name));
      if (state !== undefined) found.push({ file: parseConfFile(name, state.text), state });
    }
    return found;
  }
}

interface Found {
  readonly file: ConfFile;
  readonly state: FileState;
}

function stateOf(found: readonly Found[], name: string): FileState {
  const state = found.find(({ file }) => file.name === name)?.state;
  if (state === undefined) throw new Error(`${name} was chosen without being there`);
  return state;
}

/** The name of a file once it is a list. */
function listName({ name, kind }: UsableFile): string {
  return kind === "list" ? name : name.replace(/\.(conf|json)$/, ".conflist");
}

function untouched(name: string, text: string, original: string): boolean {
  const file = parseConfFile(name, text);
  return file.kind === "list" && withoutType(text, pluginType) === original;
}

function obstacleIn(found: readonly Found[], chosen: UsableFile): InstallError | undefined {
  const { name } = chosen;
  const refuse = (reason: string, fix: string): InstallError =>
    new InstallError({ code: "install.unchainable", file: name, reason, fix });
  if (stateOf(found, name).stamp.symlink)
    return refuse(
      "it is a symbolic link, and what it leads to belongs to another place",
      "put the file itself there, or set cni.confName to another one",
    );
  const sibling = found.find(({ file }) => file.name === listName(chosen) && file.name !== name);
  if (sibling !== undefined && !namesPlugin(sibling.file))
    return refuse(`${sibling.file.name} is there too, and runtimes ignore it`, "remove one of the two");
  return obstacleTo(chosen);
}

function missingReason(confName: string | undefined): string {
  return confName === undefined ? "there is no valid CNI configuration yet" : `${confName} isn't there yet`;
}

/** Not a name that a runtime would read. */
const unfinished = ".ambient-cni.tmp.";
const setAside = ".before-ambient-cni";
const attempts = 5;
/** A file this fresh that can't be read will soon be whole. */
const halfWrittenMs = 1000;
/** As long may somebody write to a file that was replaced under him. */
const lateWriteMs = 2000;
