// Virtual-8086 mode: APM vol. 2, 1.2.4 and 12.2.4 (I/O permission bitmap), 8.10 (virtual interrupts), vol. 3 for each instruction.

import { describe, expect, test } from 'vitest';
import { Cr4, Rflags } from '../../src/arch/registers.ts';
import { Segment } from '../../src/memory/state.ts';
import { At, ModeBench, type Setup } from './mode-bench.ts';

const bench = new ModeBench();
const virtual = (source: string, setup: Setup = {}): string => bench.run('virtual8086', source, setup);
const IOPL_3 = Rflags.IOPL;
const { VIF, VIP, IF, TF } = Rflags;
const STACK_TOP = At.STACK + 0x1000;
/** Flags that PUSHF pushed. */
const pushed = (): number =>
  Number.parseInt(
    bench
      .bytes(STACK_TOP - 2, 2)
      .split(' ')
      .reverse()
      .join(''),
    16,
  );
const word = (value: number): string => [value & 0xff, (value >> 8) & 0xff].map((byte) => byte.toString(16)).join(' ');

test('a segment load sets base, limit FFFFh and the attributes of writable data of DPL 3', () => {
  expect(virtual('mov es, ax', { registers: { rax: 0x1234 }, segments: { ES: { limit: 0x1_ffff, attributes: 0x93 } } })).toBe('done');
  expect(bench.segment(Segment.ES)).toEqual({ selector: 0x1234, base: 0x1_2340, limit: 0xffff, attributes: 0xf3 });
});

test.each([
  ['mov ax, [0xffff]', '#GP(0)'],
  ['mov bp, -1\nmov ax, [bp]', '#SS(0)'],
  ['mov byte [cs:0x100], 1', 'done'],
  ['mov ss, ax\npush ax', 'done'],
])('limits are those of real mode: %s', (source, ending) => {
  expect(virtual(source)).toBe(ending);
});

test.each(['lar ax, bx', 'lsl ax, bx', 'verr bx', 'verw bx', 'arpl ax, bx', 'lldt ax', 'ltr ax', 'sldt ax', 'str ax'])(
  '%s raises #UD',
  (source) => {
    expect(virtual(source, { cr4: Cr4.UMIP })).toBe('#UD');
  },
);

test.each([
  'hlt',
  'lgdt [0]',
  'lidt [0]',
  'lmsw ax',
  'clts',
  'mov eax, cr0',
  'mov cr0, eax',
  'mov eax, dr7',
  'mov dr7, eax',
  'rdmsr',
  'wrmsr',
  'invd',
  'wbinvd',
  'invlpg [0]',
])('%s raises #GP(0) at any IOPL', (source) => {
  expect(virtual(source, { flags: IOPL_3 })).toBe('#GP(0)');
});

test.each(['sgdt [0]', 'sidt [0]', 'smsw ax'])('%s is prevented by CR4.UMIP alone', (source) => {
  expect(virtual(source)).toBe('done');
  expect(virtual(source, { cr4: Cr4.UMIP })).toBe('#GP(0)');
});

describe('IOPL', () => {
  test.each(['cli', 'sti', 'pushf', 'popf', 'db 0x66\npushf', 'db 0x66\npopf'])('%s needs IOPL 3', (source) => {
    expect(virtual(source, { flags: IOPL_3 })).toBe('done');
    for (const iopl of [0, 1, 2]) expect(virtual(source, { flags: iopl << 12 })).toBe('#GP(0)');
    expect(bench.register('rsp')).toBe(0x1000n);
  });

  test('PUSHFD pushes VM and RF as 0', () => {
    expect(virtual('db 0x66\npushf', { flags: IOPL_3 })).toBe('done');
    expect(bench.bytes(STACK_TOP - 4, 4)).toBe('02 30 00 00');
  });

  test('POPF at IOPL 3 writes IF, but not IOPL, VM, VIF and VIP', () => {
    expect(virtual('db 0x66\npopf', { flags: IOPL_3 | VIF, memory: { [STACK_TOP]: 'd7 0e 3c 00' } })).toBe('done');
    expect(bench.rflags).toBe(0xed7 | IOPL_3 | VIF | Rflags.VM | Rflags.AC | Rflags.ID);
  });

  test('IN and OUT go by the bitmap alone', () => {
    for (const flags of [0, IOPL_3]) expect(virtual('in al, 0x60', { flags, memory: { [At.TSS + 0x66]: '68 00' } })).toBe('#GP(0)');
    const TR = { limit: 0x100 };
    const memory = { [At.TSS + 0x66]: '68 00', [At.TSS + 0x68 + 0x60 / 8]: 'fe' };
    expect(virtual('in al, 0x60', { segments: { TR }, memory })).toBe('done');
    expect(virtual('in al, 0x61', { flags: IOPL_3, segments: { TR }, memory })).toBe('#GP(0)');
    expect(virtual('in ax, 0x60', { flags: IOPL_3, segments: { TR }, memory })).toBe('#GP(0)');
    expect(virtual('mov dx, 0x60\noutsb', { segments: { TR }, memory })).toBe('done');
    expect(virtual('mov dx, 0x61\ninsb', { segments: { TR }, memory })).toBe('#GP(0)');
  });
});

describe('CR4.VME at IOPL below 3', () => {
  const vme = (source: string, flags = 0, setup: Setup = {}): string => virtual(source, { cr4: Cr4.VME, flags, ...setup });

  test('CLI and STI work on VIF', () => {
    expect(vme('sti')).toBe('done');
    expect(bench.rflags & (VIF | IF)).toBe(VIF);
    expect(bench.shadow).toBe(0);
    expect(vme('cli', VIF | IF)).toBe('done');
    expect(bench.rflags & (VIF | IF)).toBe(IF);
  });

  test('STI with VIP raises #GP(0)', () => {
    expect(vme('sti', VIP)).toBe('#GP(0)');
    expect(bench.rflags & VIF).toBe(0);
  });

  test('at IOPL 3 they work on IF', () => {
    expect(vme('sti', IOPL_3 | VIP)).toBe('done');
    expect(bench.rflags & (VIF | IF)).toBe(IF);
  });

  test('PUSHF pushes VIF in the place of IF, and IOPL 3', () => {
    expect(vme('pushf', VIF)).toBe('done');
    expect(pushed()).toBe(IF | IOPL_3 | 2);
    expect(vme('pushf', IF)).toBe('done');
    expect(pushed()).toBe(IOPL_3 | 2);
  });

  test('POPF moves the image of IF to VIF, and leaves IF and IOPL', () => {
    const pop = (flags: number, image: number): string => vme('popf', flags, { memory: { [STACK_TOP]: word(image) } });
    expect(pop(0, IF | IOPL_3 | 0x4000)).toBe('done');
    expect(bench.rflags).toBe(VIF | 0x4000 | 2 | Rflags.VM);
    expect(pop(VIF | VIP | IF, 0)).toBe('done');
    expect(bench.rflags).toBe(VIP | IF | 2 | Rflags.VM);
    expect(pop(VIP, IF)).toBe('#GP(0)');
    expect(pop(0, TF)).toBe('#GP(0)');
    expect(bench.register('rsp')).toBe(0x1000n);
  });

  test('PUSHFD and POPFD still raise #GP(0)', () => {
    expect(vme('db 0x66\npushf')).toBe('#GP(0)');
    expect(vme('db 0x66\npopf')).toBe('#GP(0)');
  });
});

describe('protected mode', () => {
  test.each(['protected16', 'protected32', 'compatibility', 'long'] as const)(
    'CR4.PVI lets CLI and STI at CPL 3 work on VIF: %s',
    (mode) => {
      const run = (source: string, flags: number, cr4: number = Cr4.PVI): string => bench.run(mode, source, { cpl: 3, flags, cr4 });
      expect(run('sti', 0)).toBe('done');
      expect(bench.rflags & (VIF | IF)).toBe(VIF);
      expect(run('cli', VIF)).toBe('done');
      expect(bench.rflags & (VIF | IF)).toBe(0);
      expect(run('sti', VIP)).toBe('#GP(0)');
      expect(run('sti', 0, Cr4.VME)).toBe('#GP(0)');
      expect(run('cli', 0, 0)).toBe('#GP(0)');
      expect(run('cli', IOPL_3 | IF)).toBe('done');
      expect(bench.rflags & IF).toBe(0);
    },
  );

  test.each(['protected16', 'protected32', 'long'] as const)('PUSHF and POPF never raise #GP: %s', (mode) => {
    expect(bench.run(mode, 'pushf\npopf', { cpl: 3, flags: VIF | IF, cr4: Cr4.PVI })).toBe('done');
    expect(bench.rflags & (VIF | IF)).toBe(VIF | IF);
  });

  test('POPF changes IF by IOPL, IOPL only at CPL 0', () => {
    const pop = (cpl: 0 | 3, flags: number, image: number): number => {
      const bytes = [0, 8, 16, 24].map((shift) => ((image >>> shift) & 0xff).toString(16)).join(' ');
      expect(bench.run('protected32', 'popf', { cpl, flags, memory: { [STACK_TOP]: bytes } })).toBe('done');
      return bench.rflags;
    };
    expect(pop(0, 0, -1 & ~TF)).toBe(0x24_7ed7);
    expect(pop(3, 0, -1 & ~TF)).toBe(0x24_4cd7);
    expect(pop(3, IOPL_3, -1 & ~TF)).toBe(0x24_7ed7);
    expect(pop(3, IOPL_3 | IF, 0)).toBe(IOPL_3 | 2);
    expect(pop(3, IF, 0)).toBe(IF | 2);
  });
});
