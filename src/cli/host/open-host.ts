// The host that a file describes: `Host` as the toolstack wants it.

import { AspStatus, aspStatusName } from '../../arch/asp.ts';
import { Host, type HostInfo } from '../../host.ts';
import { AsidUse } from '../../sev/asid.ts';
import type { TraceNote } from '../../util/trace.ts';
import { nodeAes } from '../aes-node.ts';
import { parseDate } from '../options.ts';
import { endsOf } from '../terminal.ts';
import type { HostEntry } from './fields.ts';
import type { HostLog } from './host-log.ts';
import type { AsidRow, HostPort } from './ports.ts';

/** Defaults of the command line (docs/run.md). */
const DEFAULTS = { cpu: 'milan', memory: 64 * 2 ** 20, rtc: '2026-01-01' } as const;

const states: Readonly<Record<AsidUse, AsidRow['state']>> = {
  [AsidUse.FREE]: 'free',
  [AsidUse.IN_USE]: 'used',
  [AsidUse.WAITING]: 'dirty',
};
/** Platform states (publication 55766, PLATFORM_STATUS). */
const platformStates = ['UNINIT', 'INIT', 'WORKING'] as const;

/** Throws UserError. */
export function openHost(values: HostEntry, seed: string, log: HostLog): HostPort {
  const cpu = values.cpu ?? DEFAULTS.cpu;
  const host = new Host({
    cpu,
    seed,
    aes: nodeAes,
    hostCpus: values['host-cpus'],
    memory: values.memory,
    esAsids: values['es-asids'],
    sme: values.sme,
    tsme: values.tsme,
    encryption: values.encryption,
    evict: values.evict,
    tier: values.tier,
    turn: values.turn,
    log: { emit: (note) => noteAsp(log, note) },
  });
  log.clock = () => host.machine.retired;
  return {
    get facts() {
      const { model: _, processors, memory, free, asp, flushes } = host.info();
      return { cpu, processors, seed, memory: { total: memory, free }, asp: aspText(asp), flushes };
    },
    get asids() {
      return asidRows(host);
    },
    get retired() {
      return host.machine.retired;
    },
    create: ({ values: guest }, files, serial) =>
      host.create({
        name: guest.name ?? '',
        image: files.image,
        bios: files.bios,
        initrd: files.initrd,
        disks: files.disks,
        technology: guest.sev ?? 'sev-es',
        memory: guest.memory ?? DEFAULTS.memory,
        vcpus: guest.vcpus,
        schedule: values.schedule,
        quantum: values.quantum,
        maxInstructions: guest['max-instructions'] ?? null,
        intercepts: guest.intercept ?? [],
        ghcbVersion: guest['ghcb-version'],
        sevFeatures: guest['sev-features'],
        append: guest.append ?? '',
        haltOk: guest['halt-ok'] ?? false,
        rtc: guest.rtc ?? parseDate(DEFAULTS.rtc),
        mode: guest.mode,
        load: guest.load,
        entry: guest.entry,
        rng: guest.rng,
        virtio: guest.virtio,
        ...endsOf(serial, guest['virtio-console'] ?? false),
      }),
    advance: (instructions) => void host.advance(instructions),
    dispose: () => host.dispose(),
  };
}

const aspText = (asp: HostInfo['asp']): string =>
  asp === null
    ? 'not needed yet'
    : `${platformStates[asp.state] ?? asp.state}, API ${asp.api}, ${asp.guests} guests${asp.es ? '' : ', without SEV-ES'}`;

/** All of encrypted guests, and those of others that are in use. */
function asidRows(host: Host): AsidRow[] {
  const used = new Map(host.asids().map((entry) => [entry.asid, entry]));
  const { asids } = host.system.capabilities;
  const rows = Array.from({ length: asids }, (_, i): AsidRow => {
    const asid = i + 1;
    const entry = used.get(asid);
    return { asid, state: entry === undefined ? 'free' : states[entry.use], owner: entry?.owner ?? null };
  });
  const above = [...used.values()].filter(({ asid }) => asid > asids);
  return [...rows, ...above.map(({ asid, owner }): AsidRow => ({ asid, state: 'used', owner }))];
}

/** Queries change nothing and are not worth a line. */
const QUIET: ReadonlySet<string> = new Set(['PLATFORM_STATUS', 'GUEST_STATUS', 'NOP']);

function noteAsp(log: HostLog, note: TraceNote): void {
  if (note.kind !== 'asp' || QUIET.has(note.command)) return;
  const details = Object.entries(note.detail).map(([name, value]) => ` ${name}=${name === 'address' ? `0x${value.toString(16)}` : value}`);
  const failed = note.status === aspStatusName(AspStatus.SUCCESS) ? '' : `: ${note.status}`;
  log.note(`AMD-SP: ${note.command}${details.join('')}${failed}`);
}
