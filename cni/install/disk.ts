/** What the installer does to the file system, step by step, so that a test can stand between two steps. Methods throw what Node throws. */
import { constants } from "node:fs";
import { copyFile, lstat, mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";

export interface Disk {
  /** Names in a directory; none where there is no directory. */
  names(directory: string): Promise<string[]>;
  /** Undefined where there is no such file. */
  read(path: string): Promise<FileState | undefined>;
  stamp(path: string): Promise<Stamp | undefined>;
  makeDirectory(path: string): Promise<void>;
  /** Makes a file that isn't there yet; it is on the disk when this settles. */
  writeNew(path: string, text: string, mode: number): Promise<void>;
  copyNew(source: string, path: string, mode: number): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** No error where there is nothing. */
  remove(path: string): Promise<void>;
  /** What was renamed in it survives the end of the node. */
  syncDirectory(path: string): Promise<void>;
  /** Keeps hold of a file's content past its replacement. */
  hold(path: string): Promise<HeldFile>;
}

export interface FileState {
  readonly text: string;
  readonly stamp: Stamp;
}

/** Two looks at a path that give equal stamps saw the same content. */
export interface Stamp {
  readonly id: string;
  readonly mode: number;
  readonly size: number;
  readonly modifiedMs: number;
  readonly symlink: boolean;
}

export interface HeldFile {
  readonly stamp: Stamp;
  /** What it holds now, or undefined where nobody has written to it since. */
  changedText(): Promise<string | undefined>;
  close(): Promise<void>;
}

export const nodeDisk: Disk = {
  async names(directory) {
    return (await orUndefined(readdir(directory))) ?? [];
  },
  async read(path) {
    const before = await this.stamp(path);
    if (before === undefined) return undefined;
    const text = await orUndefined(readFile(path, "utf8"));
    return text === undefined ? undefined : { text, stamp: before };
  },
  async stamp(path) {
    const found = await orUndefined(stat(path, { bigint: true }));
    if (found?.isFile() !== true) return undefined;
    return stampOf(found, (await lstat(path)).isSymbolicLink());
  },
  async makeDirectory(path) {
    await mkdir(path, { recursive: true, mode: 0o755 });
  },
  async writeNew(path, text, mode) {
    const file = await open(path, "wx", mode);
    try {
      await file.writeFile(text);
      // The creation mask doesn't decide what others may read: the file that is replaced does.
      await file.chmod(mode);
      await file.sync();
    } finally {
      await file.close();
    }
  },
  async copyNew(source, path, mode) {
    await copyFile(source, path, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    const file = await open(path, "r");
    try {
      await file.chmod(mode);
      await file.sync();
    } finally {
      await file.close();
    }
  },
  async rename(from, to) {
    await rename(from, to);
  },
  async remove(path) {
    await rm(path, { force: true });
  },
  async syncDirectory(path) {
    const directory = await open(path, "r");
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  },
  async hold(path) {
    const file = await open(path, "r");
    const stamp = stampOf(await file.stat({ bigint: true }), false);
    return {
      stamp,
      async changedText() {
        const now = stampOf(await file.stat({ bigint: true }), false);
        if (now.id === stamp.id) return undefined;
        const bytes = Buffer.alloc(now.size);
        const { bytesRead } = await file.read(bytes, 0, now.size, 0);
        return bytes.toString("utf8", 0, bytesRead);
      },
      close: () => file.close(),
    };
  },
};

interface Stats {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly mode: bigint;
  readonly size: bigint;
  readonly mtimeNs: bigint;
}

function stampOf({ dev, ino, mode, size, mtimeNs }: Stats, symlink: boolean): Stamp {
  const id = [dev, ino, size, mtimeNs].join(":");
  return { id, mode: Number(mode) & 0o7777, size: Number(size), modifiedMs: Number(mtimeNs / 1_000_000n), symlink };
}

async function orUndefined<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise;
  } catch (thrown) {
    if (thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT") return undefined;
    throw thrown;
  }
}
