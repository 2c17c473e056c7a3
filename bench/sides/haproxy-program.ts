/** Debian's haproxy: installed, or unpacked out of its package (which would start a server if it were installed). */
import { cpSync } from "node:fs";
import { join } from "node:path";
import { find } from "../../scripts/peers.ts";
import { unpackDebian, unpackedCommand, whyNotRunning } from "../../test/cluster/parts/debian.ts";
import { Unavailable } from "../../test/cluster/unavailable.ts";

/**
 * The first words of a command line.
 * @param folder that haproxy's user can read: the cache lies in a person's home, and is copied from.
 */
export async function haproxyProgram(folder: string): Promise<readonly string[] | Unavailable> {
  const installed = find("haproxy");
  if (installed !== undefined) return [installed];
  const unpacked = await unpackDebian({ name: "haproxy", packages });
  if (unpacked instanceof Unavailable) return unpacked;
  const own = join(folder, "program");
  for (const part of ["usr", "lib"])
    cpSync(join(unpacked, part), join(own, part), { recursive: true, verbatimSymlinks: true });
  const command = unpackedCommand(own, "usr/sbin/haproxy");
  return (await whyNotRunning(command, "-v")) ?? command;
}

/** With the libraries that a machine need not have. */
const packages = ["haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1"];
