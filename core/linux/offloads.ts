/**
 * What an interface leaves to hardware that a veth hasn't got (ethtool(8) -K): checksums never filled in and segments never
 * cut. A wire that carries frames through user space must have them as they would be on a cable.
 */
import { lastError, type LinuxError } from "./errno.ts";
import { addressOf, AF_INET, libc, SOCK_CLOEXEC } from "./libc.ts";
import { inNamespaceOf } from "./namespace.ts";

const SOCK_DGRAM = 2;

/** Switches off checksum, scatter-gather, segmentation and receive offloads; those that the driver hasn't got are skipped. */
export function disableOffloads(name: string, netns?: number): LinuxError | undefined {
  return inNamespaceOf(netns, () => {
    const fd = libc.socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return lastError("socket");
    try {
      for (const command of commands) {
        const failure = switchOff(fd, name, command);
        if (failure !== undefined && failure.errno !== "EOPNOTSUPP") return failure;
      }
      return undefined;
    } finally {
      libc.close(fd);
    }
  });
}

/** struct ifreq: 16 bytes of name, then a pointer to struct ethtool_value: command, value. */
function switchOff(fd: number, name: string, command: number): LinuxError | undefined {
  value.writeUInt32LE(command, 0);
  value.writeUInt32LE(0, 4);
  const request = Buffer.alloc(40);
  request.write(name.slice(0, 15));
  request.writeBigUInt64LE(addressOf(value), 16);
  return libc.ioctlStruct(fd, SIOCETHTOOL, request) === 0 ? undefined : lastError("ioctl", `ethtool ${name}`);
}

const value = Buffer.alloc(8);
// linux/sockios.h, linux/ethtool.h: SRXCSUM, STXCSUM, SSG, STSO, SGSO, SGRO
const SIOCETHTOOL = 0x8946;
const commands = [0x15, 0x17, 0x19, 0x1f, 0x24, 0x2c];
