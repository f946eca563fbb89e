// Every field of the VMSA (APM vol. 2, table B-4): whether a world switch moves it, by which class, and that what this processor does not
// have keeps its bytes. A field without a statement here fails.

import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { FPREG_X87, FPREG_XMM, FPREG_YMM, Vmsa, VMSA_PROTECTED, VmsaArray } from '../../src/arch/vmsa.ts';
import { State } from '../../src/memory/state.ts';
import { debugTable, switchTable } from '../../src/svm/switch-table.ts';
import { build, HSAVE } from './fixture.ts';

/**
 * A, B, C: swapped by that class. 'loaded': loaded and saved, and whoever runs next loads his own. 'vmrun': VMRUN looks at it, and it stays.
 * 'debug swap': class B with that feature, else it stays. Everything else stays, because the processor lacks what it is for.
 */
type Statement = 'A' | 'B' | 'C' | 'loaded' | 'vmrun' | 'debug swap' | { readonly lacks: string };

const counters = { lacks: 'performance counters' } as const;
const shadowStacks = { lacks: 'CET' } as const;
const branches = { lacks: 'last-branch recording' } as const;
const sampling = { lacks: 'IBS virtualization' } as const;
const snp = { lacks: 'SEV-SNP' } as const;
const masks = { lacks: 'the data breakpoint extension (DR0_ADDR_MASK)' } as const;

// biome-ignore format: a table
const statements: Readonly<Record<keyof typeof Vmsa.layout, Statement>> = {
  esSelector: 'A', esAttributes: 'A', esLimit: 'A', esBase: 'A', csSelector: 'A', csAttributes: 'A', csLimit: 'A', csBase: 'A',
  ssSelector: 'A', ssAttributes: 'A', ssLimit: 'A', ssBase: 'A', dsSelector: 'A', dsAttributes: 'A', dsLimit: 'A', dsBase: 'A',
  fsSelector: 'B', fsAttributes: 'B', fsLimit: 'B', fsBase: 'B', gsSelector: 'B', gsAttributes: 'B', gsLimit: 'B', gsBase: 'B',
  gdtrSelector: 'A', gdtrAttributes: 'A', gdtrLimit: 'A', gdtrBase: 'A', ldtrSelector: 'B', ldtrAttributes: 'B', ldtrLimit: 'B', ldtrBase: 'B',
  idtrSelector: 'A', idtrAttributes: 'A', idtrLimit: 'A', idtrBase: 'A', trSelector: 'B', trAttributes: 'B', trLimit: 'B', trBase: 'B',
  pl0Ssp: shadowStacks, pl1Ssp: shadowStacks, pl2Ssp: shadowStacks, pl3Ssp: shadowStacks, uCet: shadowStacks, vmpl: snp, cpl: 'A', efer: 'A',
  perfCtl0: counters, perfCtr0: counters, perfCtl1: counters, perfCtr1: counters, perfCtl2: counters, perfCtr2: counters,
  perfCtl3: counters, perfCtr3: counters, perfCtl4: counters, perfCtr4: counters, perfCtl5: counters, perfCtr5: counters,
  xss: 'B', cr4: 'A', cr3: 'A', cr0: 'A', dr7: 'C', dr6: 'C', rflags: 'A', rip: 'A',
  dr0: 'debug swap', dr1: 'debug swap', dr2: 'debug swap', dr3: 'debug swap', dr0AddrMask: masks, dr1AddrMask: masks, dr2AddrMask: masks, dr3AddrMask: masks,
  instrRetiredCtr: counters, perfGlobalStatus: counters, perfGlobalCtl: counters,
  rsp: 'A', sCet: shadowStacks, ssp: shadowStacks, isstAddr: shadowStacks, rax: 'A', star: 'B', lstar: 'B', cstar: 'B', sfmask: 'B', kernelGsBase: 'B',
  sysenterCs: 'B', sysenterEsp: 'B', sysenterEip: 'B', cr2: 'C', gPat: 'loaded', dbgCtl: 'A', brFrom: branches, brTo: branches,
  lastExcpFrom: branches, lastExcpTo: branches, dbgExtnCfg: branches, specCtrl: 'A', pkru: 'B', tscAux: 'B',
  guestTscScale: snp, guestTscOffset: snp, regProtNonce: snp, rcx: 'B', rdx: 'B', rbx: 'B', secureAvicControl: snp, rbp: 'B', rsi: 'B', rdi: 'B',
  r8: 'B', r9: 'B', r10: 'B', r11: 'B', r12: 'B', r13: 'B', r14: 'B', r15: 'B', integritySlot: 'vmrun',
  guestExitInfo1: snp, guestExitInfo2: snp, guestExitIntInfo: snp, guestNRip: snp, sevFeatures: 'vmrun', vIntrCtrl: 'vmrun', guestExitCode: snp,
  virtualTom: snp, tlbId: snp, pcpuId: snp, eventInj: snp, xcr0: 'B',
  x87Dp: 'C', mxcsr: 'C', x87Ftw: 'C', x87Fsw: 'C', x87Fcw: 'C', x87Fop: 'C', x87Ds: 'C', x87Cs: 'C', x87Rip: 'C',
  lbrSelect: branches, ibsFetchCtl: sampling, ibsFetchLinAddr: sampling, ibsOpCtl: sampling, ibsOpRip: sampling, ibsOpData1: sampling,
  ibsOpData2: sampling, ibsOpData3: sampling, ibsDcLinAddr: sampling, ibsBranchTarget: sampling, ibsFetchExtdCtl: sampling,
};
/** Fields that have no row of their own in the switch table. */
const byCode: ReadonlySet<string> = new Set(['rflags', 'cpl']);

type Field = { readonly offset: number; readonly bytes: number };
const fields = Object.entries(Vmsa.layout) as [keyof typeof Vmsa.layout, Field][];
const moved = [...switchTable, ...debugTable];
const rowOf = ({ offset }: Field) => moved.find(({ save, bytes }) => offset >= save && offset < save + bytes);

describe('the VMSA', () => {
  it('has a statement for every field, and the switch table agrees with it', () => {
    const wrong = fields.flatMap(([name, field]) => {
      const statement = statements[name];
      const swap = rowOf(field)?.swap ?? null;
      const expected =
        statement === 'A' || statement === 'B' || statement === 'C'
          ? statement
          : statement === 'loaded'
            ? '-'
            : statement === 'debug swap'
              ? 'B'
              : null;
      return (byCode.has(name) ? expected !== 'A' || swap !== null : swap !== expected) ? [`${name}: ${String(swap)}`] : [];
    });
    expect(wrong).toEqual([]);
    for (const row of moved)
      expect([row.name, fields.some(([, field]) => rowOf(field) === row) || ['xmm', 'ymm'].includes(row.name)]).toEqual([row.name, true]);
  });

  it('has no two fields at one place', () => {
    const taken = new Map<number, string>();
    const arrays = [FPREG_X87, FPREG_XMM, FPREG_YMM, ...Object.values(VmsaArray)].map(
      ({ offset, size }) => ['array', offset, size] as const,
    );
    for (const [name, offset, bytes] of [...fields.map(([text, field]) => [text, field.offset, field.bytes] as const), ...arrays]) {
      for (let at = offset; at < offset + bytes; at++) {
        expect([name, taken.get(at)]).toEqual([name, undefined]);
        taken.set(at, name);
      }
    }
    expect(Math.max(...taken.keys())).toBe(VMSA_PROTECTED - 1);
  });

  /** Values that VMRUN takes, and the guest needs to get to its HLT. */
  const needed: ReadonlySet<string> = new Set([
    'cr0', 'cr3', 'cr4', 'efer', 'rip', 'rsp', 'rflags', 'cpl', 'dr6', 'dr7', 'gPat', 'sevFeatures', 'integritySlot', 'vIntrCtrl',
  ]); // biome-ignore format: a table
  const isSegment = (name: string): boolean => /^(cs|ss|ds|es|gdtr|idtr)(Selector|Attributes|Limit|Base)$/.test(name);
  const value = (at: number): number => (at * 7 + 3) & 0x7f;

  it('gives the guest what it holds, and holds what the guest leaves', () => {
    const box = build('sev-es', 'hlt\n hlt');
    const rows = switchTable.filter(({ name }) => !needed.has(name) && !isSegment(`${name}Base`));
    const bytes = box.vmsaBytes;
    for (const { save, bytes: size } of rows) for (let k = 0; k < size; k++) bytes[save + k] = value(save + k);
    // Bases are canonical.
    for (const at of [0x48, 0x58, 0x78, 0x98]) bytes.fill(0, at + 6, at + 8);
    const before = bytes.slice();
    box.sealVmsa();
    expect(box.run()).toBe(ExitCode.HLT);
    const state = box.svm.guestState;
    const { u8 } = box.memory;
    for (const { name, save, bytes: size, state: at } of rows) {
      expect([name, [...u8.subarray(state + at, state + at + size)]]).toEqual([name, [...before.subarray(save, save + size)]]);
      for (let k = 0; k < size; k++) u8[state + at + k] = ~value(save + k) & 0x7f;
    }
    const now = new Uint8Array(4096);
    box.frames.read(0x3000, 1, now);
    for (const { name, save, bytes: size } of rows)
      expect([name, [...now.subarray(save, save + size)]]).toEqual([name, Array.from({ length: size }, (_, k) => ~value(save + k) & 0x7f)]);
  });

  it('keeps every byte that belongs to no register of this processor', () => {
    const box = build('sev-es', 'inc rbx\n hlt\n hlt');
    const bytes = box.vmsaBytes;
    const free = (at: number): boolean =>
      !moved.some(({ name, save, bytes: size }) => !/^dr[0-3]$/.test(name) && at >= save && at < save + size) &&
      !(at >= FPREG_X87.offset && at < FPREG_X87.offset + FPREG_X87.size) &&
      !fields.some(([name, { offset, bytes: size }]) => (byCode.has(name) || needed.has(name)) && at >= offset && at < offset + size);
    for (let at = 0; at < VMSA_PROTECTED; at++) if (free(at)) bytes[at] = 0x80 | value(at);
    box.sealVmsa();
    expect(box.run()).toBe(ExitCode.HLT);
    const now = new Uint8Array(4096);
    box.frames.read(0x3000, 1, now);
    const changed = Array.from({ length: VMSA_PROTECTED }, (_, at) => at).filter((at) => free(at) && now[at] !== (0x80 | value(at)));
    expect(changed).toEqual([]);
    expect(box.run()).toBe(ExitCode.HLT);
  });
});

describe('the host’s registers after an SEV-ES guest', () => {
  const registers = (swap: string) => switchTable.filter((row) => row.swap === swap);

  it('of type A are in the host save area while the guest runs, and come from there', () => {
    const box = build('sev-es', 'hlt\n hlt');
    const live = box.svm.guestState;
    box.run();
    const area = new Uint8Array(4096);
    box.frames.read(HSAVE, 0, area);
    const own = live + 4096; // the block behind that of the guests without SEV-ES
    for (const { name, save, bytes, state } of registers('A'))
      expect([name, [...area.subarray(0x400 + save, 0x400 + save + bytes)]]).toEqual([
        name,
        [...box.memory.u8.subarray(own + state, own + state + bytes)],
      ]);
  });

  it('of type B are what software put into the host save area', () => {
    const box = build('sev-es', 'hlt\n hlt');
    const live = box.svm.guestState;
    const rows = registers('B').filter(({ name }) => !['fs', 'gs', 'ldtr', 'tr', 'kernelGsBase'].includes(name));
    const area = new Uint8Array(4096);
    box.frames.read(HSAVE, 0, area);
    for (const { save, bytes } of rows) for (let k = 0; k < bytes; k++) area[0x400 + save + k] = value(save + k);
    box.frames.write(HSAVE, 0, area);
    box.run();
    for (const { name, save, bytes, state } of rows)
      expect([name, [...box.memory.u8.subarray(live + state, live + state + bytes)]]).toEqual([
        name,
        Array.from({ length: bytes }, (_, k) => value(save + k)),
      ]);
  });

  it('of type C are as after reset', () => {
    const box = build('sev-es', 'hlt\n hlt');
    const live = box.svm.guestState;
    for (const { state, bytes } of registers('C')) box.memory.u8.fill(0x55, live + state, live + state + bytes);
    box.svm.vmload(0x1000 as never); // the processor notices that its registers changed
    box.run();
    const { view } = box.memory;
    const read = (offset: number): number => view.getUint16(live + offset, true);
    expect(view.getBigUint64(live + State.DR6, true)).toBe(0xffff_0ff0n);
    expect(view.getBigUint64(live + State.DR7, true)).toBe(0x400n);
    expect(view.getBigUint64(live + State.CR2, true)).toBe(0n);
    expect([read(State.FCW), read(State.FSW), read(State.FTW)]).toEqual([0x40, 0, 0x5555]);
    expect(view.getUint32(live + State.MXCSR, true)).toBe(0x1f80);
    for (let at = State.XMM; at < State.X87 + 128; at++) expect(box.memory.u8[live + at]).toBe(0);
  });

  function value(at: number): number {
    return (at * 5 + 1) & 0x7f;
  }
});
