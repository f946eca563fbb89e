// Bochs boots a disk that we wrap around the workload. Its debug console goes to its standard output; it is ended once the guest
// has printed its result. Written for Bochs as Debian builds it: with the debugger, which wants to be told to go on.

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ENTERED } from '../boot-sector.ts';
import { diskImage } from '../disk-image.ts';
import { readImage, type Workload } from '../workloads.ts';
import { type Absent, type Peer, versionOf } from './peer.ts';
import { inFolder, timeMarks } from './process.ts';

const MEBIBYTES = 64;
/** The ROMs that Bochs comes with. */
const ROMS = '/usr/share/bochs';
const BIOS = join(ROMS, 'BIOS-bochs-latest');
const VIDEO = join(ROMS, 'VGABIOS-lgpl-latest');

export function findBochs(): Peer | Absent {
  const version = versionOf('bochs', ['--help'], /(?<=Bochs x86 Emulator )\S+/);
  if (version === null) return { absent: 'there is no bochs here' };
  if (!existsSync(BIOS) || !existsSync(VIDEO)) return { absent: `its ROMs are not in ${ROMS} (Debian: bochsbios)` };
  return { name: 'bochs', version, bits: 64, run };
}

/**
 * Nothing keeps in step with real time; a high ips makes emulated devices interrupt rarely. The display waits for nobody to
 * connect. A model of a processor that has all that the workloads use.
 */
const configuration = (folder: string, serial: string): string => `megs: ${MEBIBYTES}
romimage: file=${BIOS}
vgaromimage: file=${VIDEO}
cpu: model=corei7_haswell_4770, count=1, ips=100000000, reset_on_triple_fault=0, ignore_bad_msrs=1
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=disk, path=${folder}/disk.img, mode=flat, cylinders=0
boot: disk
port_e9_hack: enabled=1
com1: enabled=1, mode=file, dev=${serial}
display_library: rfb, options="timeout=0"
log: ${folder}/log.txt
clock: sync=none
panic: action=fatal
sound: waveoutdrv=dummy
plugin_ctrl: unmapped=1, speaker=0, gameport=0, parallel=0
`;

const run = ({ name, path }: Workload, limit: number): Promise<number> =>
  inFolder((folder) => {
    const serial = join(folder, 'serial.txt');
    writeFileSync(join(folder, 'disk.img'), diskImage(name, readImage(path), MEBIBYTES * 2 ** 20));
    writeFileSync(join(folder, 'bochsrc'), configuration(folder, serial));
    writeFileSync(join(folder, 'commands'), 'continue\nquit\n');
    const args = ['-q', '-f', join(folder, 'bochsrc'), '-unlock', '-rc', join(folder, 'commands')];
    return timeMarks({ command: 'bochs', args, folder, serial, after: ENTERED, limit });
  });
