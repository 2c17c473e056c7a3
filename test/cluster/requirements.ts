/** Whether this machine can hold a cluster, asked before anything is fetched or changed. */
import { readFileSync } from "node:fs";
import { run, tail } from "./command.ts";
import { Unavailable } from "./unavailable.ts";

/** @returns why not, or undefined. */
export async function refusalOf(): Promise<Unavailable | undefined> {
  if (process.platform !== "linux") return new Unavailable(`it needs Linux, this is ${process.platform}`);
  if (process.getuid?.() !== 0) return new Unavailable("it needs root");
  if (!/^\S+ \S+ cgroup2? /m.test(readFileSync("/proc/self/mounts", "utf8")))
    return new Unavailable("no cgroups are mounted");
  return firstRefused(
    [
      { script: "true", missing: "namespaces of its own can't be made (root without CAP_SYS_ADMIN?)" },
      {
        script:
          "mount -t tmpfs t /mnt && mkdir /mnt/a /mnt/b /mnt/c && " +
          "mount -t overlay o -o lowerdir=/mnt/a,upperdir=/mnt/b,workdir=/mnt/c /mnt/a",
        missing: "the kernel lacks overlayfs, or mounting is refused",
      },
    ],
    process.env,
  );
}

/** What is tried with programs of the parts. @returns why not, or undefined. */
export async function networkRefusal(env: NodeJS.ProcessEnv): Promise<Unavailable | undefined> {
  return firstRefused(
    [
      { script: "ip link add name v1 type veth peer name v2", missing: "the kernel lacks veth interfaces" },
      { script: "ip link add name b1 type bridge", missing: "the kernel lacks bridges" },
      {
        script: "nft add table ip t && nft add chain ip t c '{ type nat hook prerouting priority 0; }'",
        missing: "the kernel lacks nf_tables with nat",
      },
    ],
    env,
  );
}

interface Trial {
  readonly script: string;
  /** What is missing where the script fails. */
  readonly missing: string;
}

/** Each is run in namespaces of its own. */
async function firstRefused(trials: readonly Trial[], env: NodeJS.ProcessEnv): Promise<Unavailable | undefined> {
  for (const { script, missing } of trials) {
    const argv = ["unshare", "--mount", "--net", "--pid", "--fork", "sh", "-c", script];
    const { code, stderr } = await run(argv, { env });
    if (code !== 0) return new Unavailable(`${missing}: ${tail(stderr, 1)}`);
  }
  return undefined;
}
