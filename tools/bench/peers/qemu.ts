// QEMU's own processor, TCG: `-kernel` boots the workload by its PVH note, on a machine with as little around it as may be.

import { join } from 'node:path';
import type { Workload } from '../workloads.ts';
import { type Absent, type Peer, versionOf } from './peer.ts';
import { inFolder, timeMarks } from './process.ts';

const COMMAND = 'qemu-system-x86_64';

export function findQemu(): Peer | Absent {
  const version = versionOf(COMMAND, ['--version'], /\d+\.\d+\.\d+/);
  if (version === null) return { absent: `there is no ${COMMAND} here` };
  return { name: 'qemu', version, bits: 64, run };
}

// biome-ignore format: an option and its value to a line
const machine = (kernel: string, serial: string): string[] => [
  '-accel', 'tcg',
  '-cpu', 'max',
  '-m', '64',
  '-nodefaults',
  '-no-reboot',
  '-display', 'none',
  '-kernel', kernel,
  '-chardev', 'stdio,id=marks,signal=off',
  '-device', 'isa-debugcon,iobase=0xe9,chardev=marks',
  '-serial', `file:${serial}`,
  '-device', 'isa-debug-exit,iobase=0xf4,iosize=4',
];

const run = ({ path }: Workload, limit: number): Promise<number> =>
  inFolder((folder) => {
    const serial = join(folder, 'serial.txt');
    return timeMarks({ command: COMMAND, args: machine(path, serial), folder, serial, limit });
  });
