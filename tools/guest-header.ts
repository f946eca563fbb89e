// Makes guests/lib/cbit.h: the numbers that guests share with this program, each of which stands in one place (src/arch).
// tools/build-guests.ts writes the file; a test compares it.

import { BOOT_APPEND, BOOT_MAGIC, BOOT_RANGES, BOOT_VERSION, BootPage, Technology } from '../src/arch/boot-page.ts';
import { PageFault, Vector } from '../src/arch/exception.ts';
import { ExitCode } from '../src/arch/exit-code.ts';
import { EventInj, GHCB_BUFFER, Ghcb, GhcbEvent, GhcbInfo, GhcbReason, GhcbResponse, Ioio } from '../src/arch/ghcb.ts';
import { Msr } from '../src/arch/msr.ts';
import { Cr0, Cr4, Efer, Rflags } from '../src/arch/registers.ts';
import { guestMap } from '../src/machine/memory-map.ts';
import { DMA_DEVICE, portMap, virtioMmioLines } from '../src/machine/ports.ts';
import type { Layout } from '../src/util/struct.ts';

type Definition = readonly [name: string, value: number | bigint];

/** swExitCode, 'sev-es' -> SW_EXIT_CODE, SEV_ES. */
const upper = (name: string): string =>
  name
    .replaceAll(/([a-z])([A-Z])/g, '$1_$2')
    .replaceAll('-', '_')
    .toUpperCase();

const each = (prefix: string, values: Readonly<Record<string, number>>): Definition[] =>
  Object.entries(values).map(([name, value]) => [`${prefix}_${upper(name)}`, value >= 0 ? value : value >>> 0]);
const offsets = (prefix: string, layout: Layout): Definition[] =>
  Object.entries(layout).map(([name, { offset }]) => [`${prefix}_${upper(name)}`, offset]);

/** Exit codes are 64 bits wide and negative ones fill all of them (APM vol. 2, appendix C): a guest has no use for those. */
const exitCodes = Object.fromEntries(Object.entries(ExitCode).filter(([, code]) => code >= 0));

const sections: readonly (readonly [title: string, definitions: readonly Definition[]])[] = [
  ['Exception vectors: APM vol. 2, table 8-1', each('VECTOR', Vector)],
  ['Page-fault error code: APM vol. 2, figure 8-1', each('PAGE_FAULT', PageFault)],
  [
    'Control registers, EFER and RFLAGS: APM vol. 2, chapter 3',
    [...each('CR0', Cr0), ...each('CR4', Cr4), ...each('EFER', Efer), ...each('RFLAGS', Rflags)],
  ],
  ['Model-specific registers: APM vol. 2, appendix A', each('MSR', Msr)],
  ['Exit codes, which are the error codes of #VC and the values of SW_EXITCODE: APM vol. 2, appendix C', each('EXIT', exitCodes)],
  ['IOIO word: APM vol. 2, 15.10.2', each('IOIO', Ioio)],
  ['Events as EVENTINJ has them: APM vol. 2, 15.20', each('EVENT', EventInj)],
  [
    'GHCB page: offsets (GHCB specification, table 3)',
    [...offsets('GHCB', Ghcb.layout), ['GHCB_BUFFER', GHCB_BUFFER.start], ['GHCB_BUFFER_SIZE', GHCB_BUFFER.end - GHCB_BUFFER.start]],
  ],
  ['GHCB MSR protocol: GHCBInfo (GHCB specification, table 2)', each('GHCB_MSR', GhcbInfo)],
  ['GHCB events beyond the exit codes (GHCB specification, table 7)', each('GHCB_EVENT', GhcbEvent)],
  ['GHCB responses and reasons (GHCB specification, 4.1)', [...each('GHCB_RESPONSE', GhcbResponse), ...each('GHCB_REASON', GhcbReason)]],
  [
    'Boot page: docs/entry.md',
    [
      ['BOOT_MAGIC', BOOT_MAGIC],
      ['BOOT_VERSION', BOOT_VERSION],
      ...each('TECHNOLOGY', Technology),
      ...offsets('BOOT_PAGE', BootPage.layout),
      ['BOOT_PAGE_RANGES', BOOT_RANGES.offset],
      ['BOOT_PAGE_APPEND', BOOT_APPEND.offset],
      ['BOOT_APPEND_MOST', BOOT_APPEND.most],
    ],
  ],
  [
    'Devices in memory, and what the IOMMU knows the DMA engine by',
    [
      ['MMIO_DMA_ENGINE', guestMap.dmaEngine],
      ['MMIO_IOMMU', guestMap.iommu],
      ['MMIO_VIRTIO', guestMap.virtioMmio.start],
      ['MMIO_VIRTIO_STEP', guestMap.virtioMmio.step],
      ['MMIO_VIRTIO_COUNT', virtioMmioLines.length],
      ['DMA_ENGINE_DEVICE_ID', DMA_DEVICE],
    ],
  ],
  ['Ports of the machine', Object.entries(portMap).map(([name, { base }]): Definition => [`PORT_${upper(name)}`, base])],
];

/** A hexadecimal constant is unsigned where it must be, without a suffix that not every assembler knows (C17, 6.4.4.1). */
const literal = (value: number | bigint): string => `0x${value.toString(16)}${value > 0xffff_ffffn ? 'ull' : ''}`;

function section([title, definitions]: (typeof sections)[number]): string {
  const width = Math.max(...definitions.map(([name]) => name.length));
  return [`/* ${title} */`, ...definitions.map(([name, value]) => `#define ${name.padEnd(width)} ${literal(value)}`), ''].join('\n');
}

/** The text of guests/lib/cbit.h. */
export const guestHeader = (): string =>
  [
    '/* Made by tools/guest-header.ts from src/arch: do not edit, run `npm run guests`. */',
    '#pragma once',
    '',
    ...sections.map(section),
  ].join('\n');
