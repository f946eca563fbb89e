// Far JMP, CALL and RET, call gates, IRET, and the fast system calls outside 64-bit mode. APM vol. 2, 4.11, 6.1; vol. 3.

import { describe, expect, test } from 'vitest';
import { Vector } from '../../src/arch/exception.ts';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Cr4, Efer, Rflags, SegmentAttribute as A } from '../../src/arch/registers.ts';
import { Gpr, Segment, SegmentPart, segmentAt, State } from '../../src/memory/state.ts';
import { Flat } from '../instructions/bench.ts';
import { descriptor } from './mode-bench.ts';
import { At, code, flat, gate, Sel, TransferBench } from './transfer-bench.ts';

const b = new TransferBench();
const { HANDLER, CODE, STACK, INNER } = At;
const ONE = Rflags.ALWAYS_1;
const CALL_GATE = 0xc;
const CALL_GATE_16 = 4;
const hex = (n: number): string => n.toString(16);

describe('far JMP and CALL in protected mode', () => {
  test('CALL pushes CS and EIP; RETF comes back', () => {
    b.start('protected', `call 0x28:0x${hex(HANDLER)}`);
    b.write(HANDLER, Uint8Array.of(0xcb));
    expect(b.go()).toBe('');
    expect(b.place).toBe(`28:${hex(HANDLER)} 10:${hex(STACK - 8)}`);
    expect(b.words(STACK - 8, 2)).toEqual([CODE + 7, Sel.CODE]);
    expect(b.go()).toBe('');
    expect(b.place).toBe(`8:${hex(CODE + 7)} 10:${hex(STACK)}`);
  });

  const gates: readonly (readonly [string, string, bigint | (() => void)])[] = [
    ['a null selector', '#GP(0)', () => jumpTo(3)],
    ['a selector beyond the table', '#GP(a8)', () => jumpTo(0xa8)],
    ['a data segment', '#GP(10)', () => jumpTo(Sel.DATA)],
    ['code of another privilege', '#GP(20)', () => jumpTo(Sel.USER_CODE)],
    ['code that is absent', '#NP(28)', () => (jumpTo(Sel.CONFORMING), b.entry(Sel.CONFORMING, flat(code(0) & ~A.P)))],
    ['an offset beyond the limit', '#GP(0)', () => (jumpTo(Sel.CONFORMING), b.entry(Sel.CONFORMING, descriptor(code(0), 0, 0)))],
    ['an interrupt gate', '#GP(60)', gate(0xe, Sel.CODE, HANDLER)],
    ['a gate that is absent', '#NP(60)', gate(CALL_GATE, Sel.CODE, HANDLER, { present: false })],
    ['a gate to a null selector', '#GP(0)', gate(CALL_GATE, 0, HANDLER)],
    ['a gate to data', '#GP(10)', gate(CALL_GATE, Sel.DATA, HANDLER)],
    ['a gate to code of an outer privilege', '#GP(20)', gate(CALL_GATE, Sel.USER_CODE, HANDLER)],
    ['a gate with an RPL above its DPL', '#GP(60)', () => (jumpTo(Sel.GATE | 1), b.entry(Sel.GATE, gate(CALL_GATE, Sel.CODE, HANDLER)))],
  ];
  const jumpTo = (selector: number): void => b.put16(CODE + 5, selector);
  test.each(gates)('JMP: %s: %s', (_, ending, target) => {
    b.start('protected', `jmp 0x60:0x${hex(HANDLER)}`);
    if (typeof target === 'bigint') b.entry(Sel.GATE, target);
    else target();
    expect(b.go()).toBe(ending);
    expect(b.place).toBe(`8:${hex(CODE)} 10:${hex(STACK)}`);
  });

  test('sets the accessed bit of the code segment', () => {
    b.start('protected', `jmp 0x28:0x${hex(HANDLER)}`);
    b.entry(Sel.CONFORMING, flat((code(0) | A.CONFORMING) & ~A.ACCESSED));
    expect(b.go()).toBe('');
    expect(b.words(At.GDT + Sel.CONFORMING + 4, 1)[0]! & 0x100).toBe(0x100);
  });
});

describe('call gates', () => {
  const start = (raw: bigint): void => {
    b.start('protected', 'call 0x60:0x1234', { cpl: 3 });
    b.entry(Sel.GATE, raw);
    b.put32(STACK, 0x11, 0x22, 0x33);
  };

  test('of 32 bits to an inner privilege: SS, ESP, parameters, CS, EIP on the stack of the TSS', () => {
    start(gate(CALL_GATE, Sel.CODE, HANDLER, { dpl: 3, parameters: 2 }));
    b.write(HANDLER, Uint8Array.of(0xca, 8, 0));
    expect(b.go()).toBe('');
    expect(b.place).toBe(`8:${hex(HANDLER)} 10:${hex(INNER - 24)}`);
    expect(b.words(INNER - 24, 6)).toEqual([CODE + 7, Sel.USER_CODE, 0x11, 0x22, STACK, Sel.USER_DATA]);
    expect(b.u32(State.CPL)).toBe(0);
    b.setSegment(Segment.DS, Sel.DATA, Flat.data32(0), 0xffff_ffff, 0);
    // RET drops the parameters on both stacks, and data segments of the inner privilege.
    expect(b.go()).toBe('');
    expect(b.place).toBe(`23:${hex(CODE + 7)} 1b:${hex(STACK + 8)}`);
    expect([b.selectorOf(Segment.DS), b.selectorOf(Segment.ES)]).toEqual([0, Sel.USER_DATA]);
  });

  test('of 16 bits push words', () => {
    start(gate(CALL_GATE_16, Sel.CODE, 0xffff_8000, { dpl: 3, parameters: 1 }));
    expect(b.go()).toBe('');
    expect(b.place).toBe(`8:8000 10:${hex(INNER - 10)}`);
    expect(b.words(INNER - 10, 5, 2)).toEqual([7, Sel.USER_CODE, 0x11, STACK & 0xffff, Sel.USER_DATA]);
  });

  test('to a conforming segment keep CPL and stack', () => {
    start(gate(CALL_GATE, Sel.CONFORMING, HANDLER, { dpl: 3, parameters: 3 }));
    expect(b.go()).toBe('');
    expect(b.place).toBe(`2b:${hex(HANDLER)} 1b:${hex(STACK - 8)}`);
  });

  test.each([
    ['#GP(gate): above its DPL', '#GP(60)', gate(CALL_GATE, Sel.CODE, HANDLER), () => undefined],
    ['#TS(selector): no good stack', '#TS(18)', gate(CALL_GATE, Sel.CODE, HANDLER, { dpl: 3 }), () => b.put32(At.TASK + 8, Sel.USER_DATA)],
    [
      '#SS(selector): no room',
      '#SS(10)',
      gate(CALL_GATE, Sel.CODE, HANDLER, { dpl: 3 }),
      () => b.entry(Sel.DATA, descriptor(Flat.data32(0), 0, 0x21)),
    ],
    [
      '#GP(0): an offset beyond the limit',
      '#GP(0)',
      gate(CALL_GATE, Sel.CODE, HANDLER, { dpl: 3 }),
      () => b.entry(Sel.CODE, descriptor(code(0), 0, 1)),
    ],
  ])('%s', (_, ending, raw, spoil) => {
    start(raw);
    spoil();
    expect(b.go()).toBe(ending);
    expect(b.place).toBe(`23:${hex(CODE)} 1b:${hex(STACK)}`);
  });

  const startLong = (upper = 0n, dpl = 3): void => {
    b.start('compatibility', 'call 0x60:0', { cpl: 3 });
    b.entry(Sel.GATE, gate(CALL_GATE, Sel.CODE, HANDLER, { dpl }), upper);
  };

  test('of long mode: RSP0 of the TSS, a null SS, four slots of 8 bytes', () => {
    startLong();
    expect(b.go()).toBe('');
    expect(b.place).toBe(`8:${hex(HANDLER)} 0:${hex(INNER - 32)}`);
    expect(b.words(INNER - 32, 4, 8)).toEqual([CODE + 7, Sel.USER_CODE, STACK, Sel.USER_DATA]);
    expect(b.u32(State.MODE)).toBe(64);
  });

  test.each([
    ['#GP(gate): a second type that is not 0', '#GP(60)', () => startLong(0x100n << 32n)],
    ['#GP(0): an offset that is not canonical', '#GP(0)', () => startLong(0x8000n)],
    [
      '#GP(selector): code that is not 64-bit code',
      '#GP(30)',
      () => (startLong(), b.entry(Sel.GATE, gate(CALL_GATE, Sel.CODE_16, HANDLER, { dpl: 3 }))),
    ],
    ['#TS(TSS): a TSS without RSP0', '#TS(40)', () => (startLong(), b.setSegment(Segment.TR, Sel.TASK, A.P | 0xb, 10, At.TASK))],
    ['#SS(0): an RSP0 that is not canonical', '#SS(0)', () => (startLong(), b.put64(At.TASK + 4, 1n << 60n))],
  ])('of long mode: %s', (_, ending, prepare) => {
    prepare();
    expect(b.go()).toBe(ending);
    expect(b.place).toBe(`23:${hex(CODE)} 1b:${hex(STACK)}`);
  });
});

describe('IRET', () => {
  test('to an outer privilege loads SS:ESP and drops segments', () => {
    b.start('protected', 'iret');
    b.put32(STACK, HANDLER, Sel.USER_CODE, Rflags.IF | ONE, 0x2_2000, Sel.USER_DATA);
    expect(b.go()).toBe('');
    expect(b.place).toBe(`23:${hex(HANDLER)} 1b:22000`);
    expect([b.selectorOf(Segment.DS), b.u32(State.CPL), b.rflags]).toEqual([0, 3, Rflags.IF | ONE]);
  });

  test('of 16 bits pops words and leaves the upper half of EFLAGS', () => {
    b.start('protected', 'iretw', { flags: Rflags.AC });
    b.put16(STACK, 0x8000, Sel.CODE, Rflags.CF | ONE);
    expect(b.go()).toBe('');
    expect(b.place).toBe(`8:8000 10:${hex(STACK + 6)}`);
    expect(b.rflags).toBe(Rflags.AC | Rflags.CF | ONE);
  });

  test('to virtual-8086 mode at CPL 0', () => {
    b.start('protected', 'iret');
    b.put32(STACK, 0x10, 0x1234, Rflags.VM | Rflags.IOPL | ONE, 0x800, 0x2000, 1, 2, 3, 4);
    expect(b.go()).toBe('');
    expect(b.place).toBe('1234:10 2000:800');
    expect([Segment.ES, Segment.DS, Segment.FS, Segment.GS].map((segment) => b.selectorOf(segment))).toEqual([1, 2, 3, 4]);
    expect([b.u32(State.CPL), b.u32(State.MODE), b.u32(segmentAt(Segment.CS) + SegmentPart.BASE)]).toEqual([3, 16, 0x1_2340]);
    b.start('protected', 'iret');
    b.put32(STACK, 0x1_0000, 0x1234, Rflags.VM | ONE, 0x800, 0x2000, 1, 2, 3, 4);
    expect(b.go()).toBe('#GP(0)');
  });

  test.each([
    ['a null CS', '#GP(0)', [HANDLER, 0, ONE]],
    ['a CS of an inner privilege', '#GP(8)', [HANDLER, Sel.CODE, ONE, STACK, Sel.USER_DATA]],
    ['data as CS', '#GP(18)', [HANDLER, Sel.USER_DATA, ONE]],
  ])('at CPL 3: %s: %s', (_, ending, frame) => {
    b.start('protected', 'iret', { cpl: 3 });
    b.put32(STACK, ...frame);
    expect(b.go()).toBe(ending);
    expect(b.place).toBe(`23:${hex(CODE)} 1b:${hex(STACK)}`);
  });

  test.each([
    ['a null SS', '#GP(0)', 0],
    ['an SS whose RPL is not that of CS', '#GP(18)', Sel.USER_DATA & ~3],
    ['an SS of another privilege', '#GP(10)', Sel.DATA | 3],
    ['an SS that is absent', '#SS(70)', Sel.FREE | 3],
  ])('to CPL 3: %s: %s', (_, ending, ss) => {
    b.start('protected', 'iret');
    b.entry(Sel.FREE, flat(Flat.data32(3) & ~A.P));
    b.put32(STACK, HANDLER, Sel.USER_CODE, ONE, 0x2_2000, ss);
    expect(b.go()).toBe(ending);
    expect(b.place).toBe(`8:${hex(CODE)} 10:${hex(STACK)}`);
  });

  test('in real mode: an offset beyond the limit is #GP', () => {
    b.start('real', 'db 0x66\niret');
    b.put32(STACK, 0x1_0000, 0x1234, ONE);
    expect(b.go()).toBe('#GP(0)');
    b.start('real', 'iret', { flags: Rflags.IF });
    b.put16(STACK, 0x5678, 0x1234, Rflags.IOPL | Rflags.NT | ONE);
    expect(b.go()).toBe('');
    expect(b.place).toBe(`1234:5678 ${hex((STACK - 0x1000) >> 4)}:1006`);
    expect(b.rflags).toBe(Rflags.IOPL | Rflags.NT | ONE);
  });

  test('in virtual-8086 mode: #GP(0) below IOPL 3; IOPL stays', () => {
    b.start('virtual8086', 'iret');
    expect(b.go()).toBe('#GP(0)');
    b.start('virtual8086', 'iret', { flags: Rflags.IOPL | Rflags.IF });
    b.put16(STACK, 0x5678, 0x1234, Rflags.CF | ONE);
    expect(b.go()).toBe('');
    expect(b.rflags).toBe(Rflags.VM | Rflags.IOPL | Rflags.CF | ONE);
  });

  test('in virtual-8086 mode with CR4.VME restores VIF; TF, or IF with VIP, is #GP(0)', () => {
    const start = (image: number, flags = 0): void => {
      b.start('virtual8086', 'iret', { cr4: Cr4.VME, flags });
      b.put16(STACK, 0x5678, 0x1234, image | ONE);
    };
    start(Rflags.IF);
    expect(b.go()).toBe('');
    expect(b.rflags).toBe(Rflags.VM | Rflags.VIF | ONE);
    start(Rflags.TF);
    expect(b.go()).toBe('#GP(0)');
    start(Rflags.IF, Rflags.VIP);
    expect(b.go()).toBe('#GP(0)');
  });

  test('ends the blocking of NMIs, unless it faults', () => {
    for (const mode of ['protected', 'long'] as const) {
      b.start(mode, mode === 'long' ? 'iretq' : 'iret');
      b.setU32(State.NMI_BLOCKED, 1);
      expect(b.go()).toBe('#GP(0)');
      expect(b.u32(State.NMI_BLOCKED)).toBe(1);
      if (mode === 'long') b.put64(STACK, BigInt(HANDLER), BigInt(Sel.CODE), BigInt(ONE), BigInt(STACK), 0n);
      else b.put32(STACK, HANDLER, Sel.CODE, ONE);
      expect(b.go()).toBe('');
      expect([b.rip, b.u32(State.NMI_BLOCKED)]).toEqual([BigInt(HANDLER), 0]);
    }
  });

  const startLong = (...frame: readonly number[]): void => {
    b.start('long', 'iretq');
    b.put64(STACK, ...frame.map(BigInt));
  };

  test('from 64-bit mode to compatibility mode', () => {
    startLong(HANDLER, Sel.USER_CODE, ONE, 0x2_2000, Sel.USER_DATA);
    expect(b.go()).toBe('');
    expect(b.place).toBe(`23:${hex(HANDLER)} 1b:22000`);
    expect(b.u32(State.MODE)).toBe(32);
  });

  test('within 64-bit mode to CPL 3', () => {
    startLong(HANDLER, Sel.CODE_64 | 3, Rflags.IF | ONE, 0x2_2000, Sel.USER_DATA);
    expect(b.go()).toBe('');
    expect(b.place).toBe(`83:${hex(HANDLER)} 1b:22000`);
    expect([b.u32(State.CPL), b.selectorOf(Segment.DS), b.rflags]).toEqual([3, 0, Rflags.IF | ONE]);
  });

  test('within 64-bit mode to CPL 3: FS and GS become null, but keep their bases', () => {
    startLong(HANDLER, Sel.CODE_64 | 3, ONE, 0x2_2000, Sel.USER_DATA);
    b.setSegment(Segment.FS, Sel.USER_DATA, Flat.data32(3), 0xffff_ffff, 0x1234);
    b.setSegment(Segment.GS, Sel.DATA, Flat.data32(0), 0xffff_ffff, 0x5_6780);
    expect(b.go()).toBe('');
    const base = (segment: Segment): bigint => b.u64(segmentAt(segment) + SegmentPart.BASE);
    expect([b.selectorOf(Segment.FS), base(Segment.FS)]).toEqual([Sel.USER_DATA, 0x1234n]);
    expect([b.selectorOf(Segment.GS), base(Segment.GS)]).toEqual([0, 0x5_6780n]);
  });

  test.each([
    ['a null SS to compatibility mode', '#GP(0)', [HANDLER, Sel.USER_CODE, ONE, STACK, 0]],
    ['a null SS to CPL 3', '#GP(0)', [HANDLER, Sel.CODE_64 | 3, ONE, STACK, 3]],
    ['an SS of another privilege', '#GP(10)', [HANDLER, Sel.CODE_64 | 3, ONE, STACK, Sel.DATA | 3]],
    ['an SS beyond the table', '#GP(a8)', [HANDLER, Sel.CODE, ONE, STACK, 0xa8]],
    ['a CS beyond the table', '#GP(a8)', [HANDLER, 0xa8, ONE, STACK, 0]],
    ['data as CS', '#GP(10)', [HANDLER, Sel.DATA, ONE, STACK, 0]],
  ])('from 64-bit mode: %s: %s', (_, ending, frame) => {
    startLong(...frame);
    expect(b.go()).toBe(ending);
    expect(b.place).toBe(`8:${hex(CODE)} 10:${hex(STACK)}`);
  });

  test('to an RIP that is not canonical: #GP(0)', () => {
    startLong(0, Sel.CODE, ONE, STACK, 0);
    b.put64(STACK, 1n << 60n);
    expect(b.go()).toBe('#GP(0)');
  });

  test('that is intercepted leaves before anything else', () => {
    startLong();
    b.setU32(State.INTERCEPTS + 4 * (ExitCode.IRET >> 5), 1 << (ExitCode.IRET & 31));
    expect(b.go()).toBe('exit 74h');
  });
});

describe('far returns and jumps in real mode', () => {
  test('an offset beyond the limit of CS is #GP', () => {
    b.start('real', 'db 0x66\nretf');
    b.put32(STACK, 0x1_0000, 0x1234);
    expect(b.go()).toBe('#GP(0)');
    b.start('real', 'retf 4');
    b.put16(STACK, 0x5678, 0x1234);
    expect(b.go()).toBe('');
    expect(b.place).toBe(`1234:5678 ${hex((STACK - 0x1000) >> 4)}:1008`);
  });

  test('in virtual-8086 mode selectors are addresses', () => {
    b.start('virtual8086', 'call 0x1234:0x5678');
    expect(b.go()).toBe('');
    expect(b.place).toBe(`1234:5678 ${hex((STACK - 0x1000) >> 4)}:ffc`);
    expect(b.words(STACK - 4, 2, 2)).toEqual([5, CODE >> 4]);
  });
});

describe('SYSENTER and SYSEXIT', () => {
  const start = (source: string, cpl: 0 | 3, mode: 'protected' | 'compatibility' | 'real' | 'long' = 'protected'): void => {
    b.start(mode, source, { cpl, flags: Rflags.IF });
    b.setU64(State.SYSENTER_CS, BigInt(Sel.CODE));
    b.setU64(State.SYSENTER_EIP, BigInt(HANDLER));
    b.setU64(State.SYSENTER_ESP, BigInt(INNER));
  };

  test('SYSENTER takes CS, SS, EIP and ESP from MSRs and clears IF', () => {
    start('sysenter', 3);
    expect(b.go()).toBe('');
    expect(b.place).toBe(`8:${hex(HANDLER)} 10:${hex(INNER)}`);
    expect([b.u32(State.CPL), b.rflags]).toEqual([0, ONE]);
  });

  test('SYSEXIT goes to EDX with ECX as stack', () => {
    start('sysexit', 0);
    b.setGpr(Gpr.RDX, BigInt(HANDLER));
    b.setGpr(Gpr.RCX, BigInt(STACK));
    expect(b.go()).toBe('');
    expect(b.place).toBe(`1b:${hex(HANDLER)} 23:${hex(STACK)}`);
    expect(b.u32(State.CPL)).toBe(3);
  });

  test('#UD in long mode, #GP(0) in real mode, with a null SYSENTER_CS, and of SYSEXIT above CPL 0', () => {
    for (const mode of ['compatibility', 'long'] as const) {
      start('sysenter', 0, mode);
      expect(b.go()).toBe('#UD');
      start('sysexit', 0, mode);
      expect(b.go()).toBe('#UD');
    }
    start('sysenter', 0, 'real');
    expect(b.go()).toBe('#GP(0)');
    start('sysenter', 3);
    b.setU64(State.SYSENTER_CS, 3n);
    expect(b.go()).toBe('#GP(0)');
    start('sysexit', 3);
    expect(b.go()).toBe('#GP(0)');
  });
});

describe('SYSCALL and SYSRET in legacy mode', () => {
  const start = (source: string, cpl: 0 | 3): void => {
    b.start('protected', source, { cpl, flags: Rflags.IF });
    b.setU64(State.STAR, (BigInt(Sel.DATA | 3) << 48n) | (BigInt(Sel.CODE) << 32n) | BigInt(HANDLER));
  };

  test('SYSCALL goes to STAR, leaves EIP in ECX, and clears IF', () => {
    start('syscall', 3);
    expect(b.go()).toBe('');
    expect(b.place).toBe(`8:${hex(HANDLER)} 10:${hex(STACK)}`);
    expect([b.gpr(Gpr.RCX), b.gpr(11), b.rflags]).toEqual([BigInt(CODE + 2), 0n, ONE]);
  });

  test('SYSRET goes to ECX and sets IF', () => {
    start('sysret', 0);
    b.rflags = ONE;
    b.setGpr(Gpr.RCX, BigInt(HANDLER));
    expect(b.go()).toBe('');
    expect(b.place).toBe(`13:${hex(HANDLER)} 1b:${hex(STACK)}`);
    expect([b.u32(State.CPL), b.rflags]).toEqual([3, Rflags.IF | ONE]);
  });

  test('#UD without EFER.SCE; #GP(0) of SYSRET above CPL 0', () => {
    start('sysret', 3);
    expect(b.go()).toBe('#GP(0)');
    for (const source of ['syscall', 'sysret']) {
      start(source, 0);
      b.setU64(State.EFER, BigInt(Efer.NXE));
      expect(b.go()).toBe('#UD');
    }
  });
});

test('TF does not follow INT n into its handler, and traps behind the first instruction after IRET', () => {
  b.start('protected', 'int 0x40\nnop\nnop', { flags: Rflags.TF });
  b.interrupt(0x40, gate(0xe, Sel.CODE, HANDLER));
  b.write(HANDLER, Uint8Array.of(0x90, 0xcf));
  expect(b.go(3)).toBe('');
  expect(b.rip).toBe(BigInt(CODE + 2));
  expect(b.go(2)).toBe('#DB');
  expect(b.rip).toBe(BigInt(CODE + 3));
  expect(Vector.DB).toBe(1);
});
