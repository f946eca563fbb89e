// Delivery of exceptions and software interrupts through a 64-bit interrupt table. APM vol. 2, 8.9.

import { beforeEach, describe, expect, test } from 'vitest';
import { Vector } from '../../src/arch/exception.ts';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Rflags } from '../../src/arch/registers.ts';
import { assemble } from '../../src/asm/assemble.ts';
import { Gpr, Segment, State } from '../../src/memory/state.ts';
import { Bench, type Ending, Flat, Permission } from './bench.ts';
import { Place } from './case.ts';

const { CODE, DATA, STACK, HANDLERS, TABLES } = Place;
const { WRITE, USER, NO_EXECUTE } = Permission;
/** Within the page of tables. */
const GDT = TABLES;
const TASK = TABLES + 0x200;
const IDT = TABLES + 0x400;
const LAST_VECTOR = 0x30;
const KERNEL_CS = 0x08;
const KERNEL_SS = 0x10;
const USER_SS = 0x1b;
const USER_CS = 0x23;
const RSP0 = DATA + 0x800;
const IST1 = DATA + 0x400;
const GATE = { INTERRUPT: 0xe, TRAP: 0xf } as const;

const bench = new Bench();
bench.map(CODE, CODE, USER);
bench.map(DATA, DATA, USER | WRITE | NO_EXECUTE);
bench.map(DATA + 0x1000, DATA + 0x1000, USER | WRITE | NO_EXECUTE);
bench.map(HANDLERS, HANDLERS, 0);
bench.map(TABLES, TABLES, WRITE | NO_EXECUTE);
// Sixteen NOPs for each vector.
bench.write(HANDLERS, new Uint8Array(0x1000).fill(0x90));

const handler = (vector: number): number => HANDLERS + 16 * vector;

function write64(address: number, ...values: readonly bigint[]): void {
  const bytes = new Uint8Array(8 * values.length);
  for (const [n, value] of values.entries()) new DataView(bytes.buffer).setBigUint64(8 * n, BigInt.asUintN(64, value), true);
  bench.write(address, bytes);
}

function gate(vector: number, type: number = GATE.INTERRUPT, { dpl = 0, ist = 0, present = true } = {}): void {
  const offset = handler(vector);
  const low = (offset & 0xffff) | (KERNEL_CS << 16);
  const high = (offset & 0xffff_0000) | (present ? 0x8000 : 0) | (dpl << 13) | (type << 8) | ist;
  write64(IDT + 16 * vector, (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0), 0n);
}

const descriptor = (attributes: number): bigint =>
  (BigInt((((attributes & 0xf00) << 12) | ((attributes & 0xff) << 8) | 0xf_0000) >>> 0) << 32n) | 0xffffn;

function start(source: string, { cpl = 0, flags = 0, rsp = STACK as number } = {}): void {
  const { bytes } = assemble(source, { origin: BigInt(CODE) });
  bench.write(CODE, bytes);
  bench.reset();
  bench.deliverExceptions();
  bench.setU64(State.RIP, BigInt(CODE));
  bench.setGpr(Gpr.RSP, BigInt(rsp));
  bench.setU32(State.CPL, cpl);
  bench.rflags = flags | Rflags.ALWAYS_1;
  bench.setSegment(Segment.CS, cpl === 0 ? KERNEL_CS : USER_CS, Flat.code64(cpl), 0xffff_ffff, 0);
  for (const segment of [Segment.SS, Segment.DS, Segment.ES])
    bench.setSegment(segment, cpl === 0 ? KERNEL_SS : USER_SS, Flat.data32(cpl), 0xffff_ffff, 0);
  bench.setSegment(Segment.GDTR, 0, 0, 0x27, GDT);
  bench.setSegment(Segment.IDTR, 0, 0, 16 * LAST_VECTOR + 15, IDT);
  bench.setSegment(Segment.TR, 0x40, Flat.task, 0x67, TASK);
  bench.settle();
}

/** The slots on the present stack, lowest first. */
const frame = (count: number): number[] =>
  Array.from({ length: count }, (_, n) => Number(bench.physical(Number(bench.gpr(Gpr.RSP)) + 8 * n, 8).getBigUint64(0, true)));
/** Runs one instruction of the handler. */
function expectHandler(vector: number): void {
  expect(bench.run(1)).toEqual({ kind: 'limit' });
  expect(bench.rip).toBe(BigInt(handler(vector) + 1));
}

beforeEach(() => {
  write64(GDT, 0n, descriptor(Flat.code64(0)), descriptor(Flat.data32(0)), descriptor(Flat.data32(3)), descriptor(Flat.code64(3)));
  bench.write(TASK, new Uint8Array(0x68));
  bench.write(TASK + 4, Uint8Array.of(0));
  write64(TASK + 4, BigInt(RSP0));
  write64(TASK + 0x24, BigInt(IST1));
  for (let vector = 0; vector <= LAST_VECTOR; vector++) gate(vector);
  bench.write(DATA, new Uint8Array(0x2000));
});

describe('the frame', () => {
  test('a page fault pushes error code, RIP, CS, RFLAGS with RF, RSP, SS and sets CR2', () => {
    start(`mov eax, [0x${Place.ABSENT.toString(16)}]`, { flags: Rflags.CF | Rflags.IF });
    expectHandler(Vector.PF);
    expect(frame(6)).toEqual([0, CODE, KERNEL_CS, Rflags.RF | Rflags.IF | Rflags.ALWAYS_1 | Rflags.CF, STACK, KERNEL_SS]);
    expect(bench.u64(State.CR2)).toBe(BigInt(Place.ABSENT));
    expect(bench.rflags).toBe(Rflags.ALWAYS_1 | Rflags.CF);
  });

  test('#UD has no error code, and the stack is aligned to 16 bytes', () => {
    start('ud2', { rsp: STACK - 3 });
    expectHandler(Vector.UD);
    expect(bench.gpr(Gpr.RSP)).toBe(BigInt(STACK - 16 - 40));
    expect(frame(5)).toEqual([CODE, KERNEL_CS, Rflags.RF | Rflags.ALWAYS_1, STACK - 3, KERNEL_SS]);
  });

  test('from CPL 3 the stack is RSP0 and SS becomes null', () => {
    start('nop\nhlt', { cpl: 3 });
    expectHandlerAfter(1, Vector.GP);
    expect(bench.gpr(Gpr.RSP)).toBe(BigInt(RSP0 - 48));
    expect(frame(6)).toEqual([0, CODE + 1, USER_CS, Rflags.RF | Rflags.ALWAYS_1, STACK, USER_SS]);
    expect(bench.u32(State.CPL)).toBe(0);
    expect(bench.memory.view.getUint16(bench.state + State.SEGMENTS + 16 * Segment.SS, true)).toBe(0);
  });

  test('a gate with an IST entry takes that stack, even at CPL 0', () => {
    gate(Vector.UD, GATE.INTERRUPT, { ist: 1 });
    start('ud2');
    expectHandler(Vector.UD);
    expect(bench.gpr(Gpr.RSP)).toBe(BigInt(IST1 - 40));
  });

  test('a trap gate leaves IF', () => {
    gate(Vector.UD, GATE.TRAP);
    start('ud2', { flags: Rflags.IF | Rflags.TF });
    bench.run(1);
    expect(bench.rflags & (Rflags.IF | Rflags.TF)).toBe(Rflags.IF);
  });
});

function expectHandlerAfter(instructions: number, vector: number): void {
  expect(bench.run(instructions)).toEqual({ kind: 'limit' });
  expectHandler(vector);
}

describe('software interrupts', () => {
  test('INT n saves the next RIP, pushes no error code and no RF', () => {
    start('int 0x20');
    expectHandlerAfter(1, 0x20);
    expect(frame(5)).toEqual([CODE + 2, KERNEL_CS, Rflags.ALWAYS_1, STACK, KERNEL_SS]);
  });

  test('INT n through a gate with DPL below CPL raises #GP(gate)', () => {
    start('int 0x20', { cpl: 3 });
    expectHandler(Vector.GP);
    expect(frame(2)).toEqual([(0x20 << 3) | 2, CODE]);
  });

  test('INT3 at CPL 3 needs a gate of DPL 3 and is a trap', () => {
    gate(Vector.BP, GATE.INTERRUPT, { dpl: 3 });
    start('int3', { cpl: 3 });
    expectHandlerAfter(1, Vector.BP);
    expect(frame(2)).toEqual([CODE + 1, USER_CS]);
  });

  test('IRETQ returns to CPL 3 with everything restored', () => {
    gate(0x20, GATE.INTERRUPT, { dpl: 3 });
    bench.write(handler(0x20), Uint8Array.of(0x48, 0xcf));
    start('int 0x20\nnop', { cpl: 3, flags: Rflags.ZF | Rflags.IF });
    expect(bench.run(2)).toEqual({ kind: 'limit' });
    bench.write(handler(0x20), new Uint8Array(16).fill(0x90));
    expect(bench.rip).toBe(BigInt(CODE + 2));
    expect(bench.u32(State.CPL)).toBe(3);
    expect(bench.gpr(Gpr.RSP)).toBe(BigInt(STACK));
    expect(bench.rflags).toBe(Rflags.ZF | Rflags.IF | Rflags.ALWAYS_1);
    expect(bench.memory.view.getUint16(bench.state + State.SEGMENTS + 16 * Segment.SS, true)).toBe(USER_SS);
  });
});

describe('faults on the way', () => {
  test('a gate that is not present raises #NP(gate)', () => {
    gate(0x21, GATE.INTERRUPT, { present: false });
    start('int 0x21');
    expectHandler(Vector.NP);
    expect(frame(2)).toEqual([(0x21 << 3) | 2, CODE]);
  });

  test('a contributory exception during delivery of another gives #DF with error code 0', () => {
    gate(Vector.GP, GATE.INTERRUPT, { present: false });
    start('mov cr8, rax\nhlt', { cpl: 3 });
    expectHandler(Vector.DF);
    expect(frame(1)).toEqual([0]);
  });

  test('a page fault while a page fault is delivered gives #DF', () => {
    gate(Vector.DF, GATE.INTERRUPT, { ist: 1 });
    start('push rax', { rsp: Place.ABSENT + 8 });
    expectHandler(Vector.DF);
    expect(frame(2)).toEqual([0, CODE]);
  });

  test('a page fault while #UD is delivered is a page fault', () => {
    gate(Vector.PF, GATE.INTERRUPT, { ist: 1 });
    start('ud2', { rsp: Place.ABSENT + 0x100 });
    expectHandler(Vector.PF);
    expect(frame(2)).toEqual([2, CODE]);
    expect(bench.u64(State.CR2)).toBe(BigInt(Place.ABSENT + 0x100 - 40));
  });

  test('a fault while #DF is delivered is shutdown', () => {
    start('ud2');
    bench.setSegment(Segment.IDTR, 0, 0, 0, IDT);
    const shutdown: Ending = { kind: 'exit', code: ExitCode.SHUTDOWN, info1: 0n, info2: 0n };
    expect(bench.run(1)).toEqual(shutdown);
  });
});

describe('debug exceptions', () => {
  test('TF traps behind the next instruction and sets DR6.BS', () => {
    start('nop\nnop', { flags: Rflags.TF });
    expectHandlerAfter(1, Vector.DB);
    expect(frame(3)).toEqual([CODE + 1, KERNEL_CS, Rflags.TF | Rflags.ALWAYS_1]);
    expect(bench.u64(State.DR6) & 0x4000n).toBe(0x4000n);
  });
});
