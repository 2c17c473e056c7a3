/** Mounts of the calling process's mount namespace. */
import { lastError, type LinuxError } from "./errno.ts";
import { libc } from "./libc.ts";

/** A fresh tmpfs over `path`. @param mode of its root, as 0o755. */
export function mountTmpfs(path: string, mode: number): LinuxError | undefined {
  return mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, `mode=${mode.toString(8)}`);
}

/** Shows the file or directory `source` at `target` too, with what is mounted below it. */
export function bindMount(source: string, target: string): LinuxError | undefined {
  return mount(source, target, null, MS_BIND | MS_REC, null);
}

/** Detaches what is mounted at `path`; it goes when the last one inside has gone. EINVAL: nothing was mounted there. */
export function unmount(path: string): LinuxError | undefined {
  return libc.umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) === 0 ? undefined : lastError("umount2", path);
}

function mount(
  source: string,
  target: string,
  type: string | null,
  flags: number,
  data: string | null,
): LinuxError | undefined {
  if (libc.mount(source, target, type, flags, data) === 0) return undefined;
  return lastError("mount", `${source} on ${target}`);
}

// linux/mount.h
const MS_NOSUID = 2;
const MS_NODEV = 4;
const MS_BIND = 4096;
const MS_REC = 16384;
const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;
