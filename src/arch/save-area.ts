// The save area of a VMCB (VMCB + 400h; APM vol. 2, table B-2) and the fields that it has in common with the VMSA (table B-4).
// Segment registers take 16 bytes: selector, attributes (SegmentAttribute), limit, base.

import { type Field, struct, u8, u16, u32, u64 } from '../util/struct.ts';

type SegmentFields<N extends string> = { readonly [K in `${N}Selector` | `${N}Attributes`]: Field<2> } & {
  readonly [K in `${N}Limit`]: Field<4>;
} & { readonly [K in `${N}Base`]: Field<8> };

const segment = <const N extends string>(name: N, offset: number): SegmentFields<N> =>
  ({
    [`${name}Selector`]: u16(offset),
    [`${name}Attributes`]: u16(offset + 2),
    [`${name}Limit`]: u32(offset + 4),
    [`${name}Base`]: u64(offset + 8),
  }) as SegmentFields<N>;

/** Fields at the same place in a VMCB's save area and in a VMSA. */
export const commonFields = {
  ...segment('es', 0x000),
  ...segment('cs', 0x010),
  ...segment('ss', 0x020),
  ...segment('ds', 0x030),
  ...segment('fs', 0x040),
  ...segment('gs', 0x050),
  ...segment('gdtr', 0x060),
  ...segment('ldtr', 0x070),
  ...segment('idtr', 0x080),
  ...segment('tr', 0x090),
  cpl: u8(0x0cb),
  efer: u64(0x0d0),
  cr4: u64(0x148),
  cr3: u64(0x150),
  cr0: u64(0x158),
  dr7: u64(0x160),
  dr6: u64(0x168),
  rflags: u64(0x170),
  rip: u64(0x178),
  rsp: u64(0x1d8),
  sCet: u64(0x1e0),
  ssp: u64(0x1e8),
  isstAddr: u64(0x1f0),
  rax: u64(0x1f8),
  star: u64(0x200),
  lstar: u64(0x208),
  cstar: u64(0x210),
  sfmask: u64(0x218),
  kernelGsBase: u64(0x220),
  sysenterCs: u64(0x228),
  sysenterEsp: u64(0x230),
  sysenterEip: u64(0x238),
  cr2: u64(0x240),
  gPat: u64(0x268),
  dbgCtl: u64(0x270),
  brFrom: u64(0x278),
  brTo: u64(0x280),
  lastExcpFrom: u64(0x288),
  lastExcpTo: u64(0x290),
  dbgExtnCfg: u64(0x298),
  specCtrl: u64(0x2e0),
} as const;

/** Save area of a guest without SEV-ES. Offsets count from VMCB + 400h: give it a Port that begins there. */
export const SaveArea = struct(commonFields, 0xc00);
