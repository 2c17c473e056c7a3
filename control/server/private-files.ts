/** Files that hold secrets, or that others read while we write: never half written, never overwritten by the loser of a race. */
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { randomUUID } from "node:crypto";
import { dirname } from "node:path";
import { messageOf, TypedError } from "../../core/base/errors.ts";

export class FileError extends TypedError<
  | { readonly code: "file.unreadable"; readonly path: string; readonly problem: string }
  | { readonly code: "file.unwritable"; readonly path: string; readonly problem: string }
  | { readonly code: "file.not-private"; readonly path: string; readonly mode: string; readonly fix: string }
  | { readonly code: "file.damaged"; readonly path: string; readonly problem: string; readonly fix: string }
> {}

/** Makes sure that `path` is a directory only we can enter: creates it, or takes others' permissions from our own. */
export function privateDirectory(path: string): FileError | undefined {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const { mode, uid } = lstatSync(path);
    if ((mode & 0o077) === 0) return undefined;
    if (uid !== process.geteuid?.()) return notPrivate(path, mode, `chown it to this user, then chmod 700 ${path}`);
    chmodSync(path, 0o700);
    return undefined;
  } catch (thrown) {
    return new FileError({ code: "file.unwritable", path, problem: messageOf(thrown) });
  }
}

/** The text of a file that nobody else may read, or undefined when there is none. */
export function readPrivate(path: string): string | undefined | FileError {
  let descriptor: number;
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (thrown) {
    if (isErrno(thrown, "ENOENT")) return undefined;
    return new FileError({ code: "file.unreadable", path, problem: messageOf(thrown) });
  }
  try {
    const { mode, size } = fstatSync(descriptor);
    if ((mode & 0o077) !== 0) return notPrivate(path, mode, `chmod 600 ${path}`);
    if (size > longestSecret) {
      const fix = "restore it from a backup, or remove it";
      return new FileError({
        code: "file.damaged",
        path,
        problem: `${size} bytes are more than ${longestSecret}`,
        fix,
      });
    }
    return readFileSync(descriptor, "utf8");
  } catch (thrown) {
    return new FileError({ code: "file.unreadable", path, problem: messageOf(thrown) });
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Creates `path` with mode 0600 unless it is there, whole or not at all: the text is written beside it, synced, then linked
 * to its name, which fails if somebody else was first.
 * @returns the text that is there now, ours or the winner's
 */
export function createOnce(path: string, text: string): string | FileError {
  const problem = place(path, text, 0o600, (temporary) => {
    try {
      linkSync(temporary, path);
    } catch (thrown) {
      if (!isErrno(thrown, "EEXIST")) throw thrown;
    }
    rmSync(temporary);
  });
  if (problem !== undefined) return problem;
  return (
    readPrivate(path) ?? new FileError({ code: "file.unreadable", path, problem: "it was removed while we started" })
  );
}

/** Puts `text` in the place of `path`, whole or not at all. */
export function replaceFile(path: string, text: string, mode: number): FileError | undefined {
  return place(path, text, mode, (temporary) => renameSync(temporary, path));
}

function place(path: string, text: string, mode: number, settle: (temporary: string) => void): FileError | undefined {
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    const descriptor = openSync(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, mode);
    try {
      writeSync(descriptor, text);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    settle(temporary);
    syncDirectory(dirname(path));
    return undefined;
  } catch (thrown) {
    discard(temporary);
    return new FileError({ code: "file.unwritable", path, problem: messageOf(thrown) });
  }
}

/** The file may never have come to be, nor its directory: what matters has been said already. */
function discard(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    return;
  }
}

/** So that the new name outlives a power cut. */
function syncDirectory(path: string): void {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function notPrivate(path: string, mode: number, fix: string): FileError {
  return new FileError({ code: "file.not-private", path, mode: (mode & 0o777).toString(8), fix });
}

function isErrno(thrown: unknown, code: string): boolean {
  return thrown instanceof Error && "code" in thrown && thrown.code === code;
}

const longestSecret = 65_536;
