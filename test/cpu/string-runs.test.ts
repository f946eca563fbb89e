// Repeated string instructions, whose elements are done many at a time where nobody can tell: the same as one at a time. APM vol. 3, 1.2.6:
// an interrupted repeat resumes where it was, and its registers show how far it came. The reference is the same instruction under a
// budget of one element, again and again.

import { describe, expect, test } from 'vitest';
import { PageFault, Vector } from '../../src/arch/exception.ts';
import { Rflags, SegmentAttribute as A } from '../../src/arch/registers.ts';
import { assemble } from '../../src/asm/assemble.ts';
import { FormSet } from '../../src/cpu/interpreter.ts';
import { Gpr, Segment, State } from '../../src/memory/state.ts';
import { RandomStream } from '../../src/util/random.ts';
import { InstructionDecoder } from '../../src/x86/decode.ts';
import type { Form } from '../../src/x86/form.ts';
import { Bench, type Ending, Flat, Permission } from '../instructions/bench.ts';

const CODE = 0x1_0000;
/** Below 64 KiB, so that 16-bit addresses reach them, too. */
const FIRST = 0x4000;
const FLAT = 0xffff_ffff;
const { WRITE } = Permission;
/** Linear pages of the playground; the physical page of each, and what may be done there. Two are the same page; one has no memory. */
const playground: readonly (readonly [physical: number, permission: number] | undefined)[] = [
  [0x4000, WRITE],
  [0x5000, WRITE],
  [0x5000, WRITE],
  [0x7000, 0],
  [0x8000, WRITE],
  undefined,
];
const HIGH = 0x7fff_ffff_f000;

function makeBench(forms?: FormSet): Bench {
  const bench = new Bench(undefined, forms);
  for (const page of [0, 0x1000]) bench.map(CODE + page, CODE + page, WRITE);
  playground.forEach((page, n) => {
    if (page) bench.map(FIRST + 4096 * n, page[0], page[1]);
  });
  bench.map(0, 0x8000, WRITE);
  bench.map(0xf000, 0x7000, WRITE);
  bench.map(0xffff_f000, 0x9000, WRITE);
  bench.map(HIGH, 0x9000, WRITE);
  return bench;
}

type Bits = 16 | 32 | 64;
type Setup = {
  readonly source: string;
  readonly bits?: Bits;
  readonly gprs?: Partial<Record<'rax' | 'rcx' | 'rsi' | 'rdi', bigint | number>>;
  readonly flags?: number;
  readonly segments?: readonly (readonly [Segment, attributes: number, limit: number, base: number])[];
  readonly dr0?: number;
  readonly dr7?: number;
  readonly at?: number;
  /** What the playground and the last pages hold. */
  readonly bytes?: (physical: number) => Uint8Array;
};

const physicalPages = [0x4000, 0x5000, 0x7000, 0x8000, 0x9000, CODE, CODE + 0x1000];
const zeros = (): Uint8Array => new Uint8Array(4096);

function prepare(bench: Bench, setup: Setup): void {
  const { bits = 64, gprs = {}, segments = [], at = CODE } = setup;
  bench.reset();
  const code = { 64: Flat.code64(0), 32: Flat.code32(0), 16: Flat.code16(0) }[bits];
  bench.setSegment(Segment.CS, 0x08, code, FLAT, 0);
  for (const segment of [Segment.SS, Segment.DS, Segment.ES, Segment.FS]) bench.setSegment(segment, 0x10, Flat.data32(0), FLAT, 0);
  for (const [segment, attributes, limit, base] of segments) bench.setSegment(segment, 0x18, attributes, limit, base);
  for (const page of physicalPages) bench.write(page, (setup.bytes ?? zeros)(page));
  bench.write(CODE, new Uint8Array(0x2000).fill(0x90));
  bench.write(at, assemble(setup.source, { bits, origin: BigInt(at) }).bytes);
  bench.setU64(State.RIP, BigInt(at));
  bench.setU32(State.HALTED, 0);
  for (const [name, value] of Object.entries(gprs)) bench.setGpr(Gpr[name.toUpperCase() as keyof typeof Gpr], BigInt(value));
  bench.rflags = setup.flags ?? 0;
  if (setup.dr0 !== undefined) {
    bench.setU64(State.DR0, BigInt(setup.dr0));
    bench.setU64(State.DR7, BigInt(setup.dr7 ?? 0xd0401)); // LEN 4, writes
  }
  bench.cpu.elements = 0;
  bench.settle();
}

/** Everything that a program or its debugger can see. */
function seen(bench: Bench, ending: Ending, retiredBefore: number): unknown {
  return {
    ending,
    gprs: Array.from({ length: 16 }, (_, n) => bench.gpr(n)),
    rip: bench.rip,
    rflags: bench.rflags,
    dr6: bench.u32(State.DR6),
    retired: bench.cpu.retired - retiredBefore,
    elements: bench.cpu.elements,
    memory: physicalPages.map((page) => Buffer.from(bench.read(page, 4096)).toString('latin1')),
  };
}

const whole = makeBench();
const single = makeBench();
const hot = makeBench(new FormSet(stringForms()));

/** Forms that the one function holds on the third bench. */
function stringForms(): Form[] {
  const forms: Form[] = [];
  const decoder = new InstructionDecoder();
  for (const hex of ['f3a4', 'f348a5', 'f3aa', 'f348ab', 'f3ad', 'f3a6', 'f2a6', 'f2ae', 'f3af', 'f2af']) {
    decoder.decode(Buffer.from(hex, 'hex'), 0, 64, ({ form }) => {
      forms.push(form);
      return false;
    });
  }
  return forms;
}

function runWhole(bench: Bench, setup: Setup, budget: number): unknown {
  prepare(bench, setup);
  const before = bench.cpu.retired;
  const ending = bench.run(budget);
  return seen(bench, ending, before);
}

function runSingly(setup: Setup, budget: number): unknown {
  prepare(single, setup);
  const before = single.cpu.retired;
  let ending: Ending = { kind: 'limit' };
  for (let left = budget; left > 0 && ending.kind === 'limit'; left--) ending = single.run(1);
  return seen(single, ending, before);
}

/** Runs it both ways, and says what came out. */
function same(setup: Setup, budget = 700): ReturnType<typeof registers> {
  const reference = runSingly(setup, budget);
  expect(runWhole(hot, setup, budget)).toEqual(reference);
  expect(runWhole(whole, setup, budget)).toEqual(reference);
  return registers(reference as { ending: Ending });
}

const registers = ({ ending }: { ending: Ending }) => ({
  ending,
  rcx: Number(whole.gpr(Gpr.RCX)),
  rsi: Number(whole.gpr(Gpr.RSI)),
  rdi: Number(whole.gpr(Gpr.RDI)),
});

const counting = (page: number): Uint8Array => Uint8Array.from({ length: 4096 }, (_, n) => (n * 7 + (n >> 8) + page / 4096) & 0xff);
const limit = { kind: 'limit' };

describe('repeated string instructions in runs', () => {
  test('a copy upwards onto itself repeats what lies between, at every distance', () => {
    for (const distance of [0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 64, 100, 255])
      for (const source of ['rep movsb', 'rep movsw', 'rep movsd', 'rep movsq'])
        same({ source, gprs: { rcx: 40, rsi: FIRST + 8, rdi: FIRST + 8 + distance }, bytes: counting }, 60);
  });

  test('so does one downwards', () => {
    for (const distance of [0, 1, 2, 4, 5, 8, 16, 33, 255])
      for (const source of ['rep movsb', 'rep movsd', 'rep movsq'])
        for (const sign of [1, -1])
          same(
            { source, flags: Rflags.DF, gprs: { rcx: 40, rsi: FIRST + 1000, rdi: FIRST + 1000 - sign * distance }, bytes: counting },
            60,
          );
  });

  test('overlap is a matter of physical memory: two linear pages may be one page', () => {
    same({ source: 'rep movsb', gprs: { rcx: 300, rsi: FIRST + 0x1010, rdi: FIRST + 0x2011 }, bytes: counting });
    same({ source: 'rep movsb', flags: Rflags.DF, gprs: { rcx: 300, rsi: FIRST + 0x1810, rdi: FIRST + 0x280e }, bytes: counting });
  });

  test('a fault in the middle leaves what was done, and the registers of the element that faults', () => {
    const to = FIRST + 0x3000 - 100;
    expect(same({ source: 'rep movsb', gprs: { rcx: 500, rsi: FIRST, rdi: to }, bytes: counting })).toEqual({
      ending: { kind: 'exception', vector: Vector.PF, errorCode: PageFault.RW | PageFault.P, address: BigInt(to + 100) },
      rcx: 400,
      rsi: FIRST + 100,
      rdi: to + 100,
    });
    const from = FIRST + 0x5000 - 99;
    expect(same({ source: 'rep movsd', gprs: { rcx: 500, rsi: from, rdi: FIRST }, bytes: counting })).toEqual({
      ending: { kind: 'exception', vector: Vector.PF, errorCode: 0, address: BigInt(FIRST + 0x5000) },
      rcx: 476,
      rsi: from + 96,
      rdi: FIRST + 96,
    });
    expect(same({ source: 'repe cmpsb', gprs: { rcx: 500, rsi: FIRST, rdi: FIRST + 0x5000 - 7 } })).toMatchObject({ rcx: 493 });
  });

  test('a budget ends it between any two elements', () => {
    const setup: Setup = { source: 'rep movsb', gprs: { rcx: 40, rsi: FIRST, rdi: FIRST + 0x100 }, bytes: counting };
    for (let budget = 0; budget <= 42; budget++)
      expect(same(setup, budget)).toEqual({
        ending: limit,
        rcx: Math.max(40 - budget, 0),
        rsi: FIRST + Math.min(budget, 40),
        rdi: FIRST + 0x100 + Math.min(budget, 40),
      });
  });

  test('flags are those of the last element compared', () => {
    const bytes = (page: number): Uint8Array => (page === 0x4000 ? zeros().fill(5, 77, 78) : zeros());
    for (const source of ['repe cmpsb', 'repe cmpsw', 'repe cmpsd', 'repe cmpsq', 'repne cmpsb', 'repe scasb', 'repe scasq', 'repne scasd'])
      for (const rcx of [1, 2, 9, 10, 20, 38, 39, 40, 77, 78, 79, 200])
        for (const budget of [rcx, 30]) same({ source, gprs: { rcx, rsi: FIRST + 0x1000, rdi: FIRST }, bytes, flags: Rflags.CF }, budget);
    for (const rcx of [1, 17, 40, 78, 79, 200])
      for (const back of ['repne scasb', 'repe scasb', 'repne scasw', 'repe cmpsd'])
        same({ source: back, gprs: { rax: 5, rcx, rsi: FIRST + 0x1400, rdi: FIRST + 150 }, bytes, flags: Rflags.DF });
  });

  test('addresses of 32 bits wrap, and clear the upper halves', () => {
    const start = { rcx: 0x7_0000_0028n, rdi: 0xffff_fff0n };
    same({ source: 'a32 rep stosb', gprs: { ...start, rax: 0x1ff }, bytes: counting });
    same({ source: 'a32 rep movsw', gprs: { ...start, rsi: 0xa_0000_4000n }, bytes: counting });
    same({ source: 'a32 rep movsw', gprs: { ...start, rdi: 0xffff_fff1n, rsi: 0xa_0000_4000n }, bytes: counting });
    same({ source: 'a32 rep lodsd', gprs: { rcx: 3, rsi: 0xa_0000_4000n }, bytes: counting });
  });

  test('addresses of 16 bits wrap, in both directions', () => {
    for (const flags of [0, Rflags.DF])
      for (const source of ['rep movsb', 'rep movsw', 'rep stosw', 'repe scasb', 'rep movsd']) {
        const gprs = { rax: 0x1234, rcx: 0x5_0000 + 60, rsi: 0x5_4400, rdi: flags === 0 ? 0xffe0 : 0x12 };
        same({ source, bits: 16, flags, gprs, bytes: counting });
        same({ source, bits: 16, flags, gprs: { ...gprs, rdi: gprs.rdi + 1 }, bytes: counting });
        for (const base of [0xffff_6120, 0xffff_6123])
          same({ source, bits: 16, gprs: { ...gprs, rdi: 0xffc0 }, segments: [[Segment.ES, Flat.data32(0), FLAT, base]], bytes: counting });
        same({
          source,
          bits: 16,
          flags,
          gprs: { ...gprs, rdi: 0x20 },
          segments: [[Segment.ES, Flat.data32(0), FLAT, FIRST + 0x123]],
          bytes: counting,
        });
      }
  });

  test('a segment ends it where its limit is, with #GP', () => {
    const segments = [[Segment.ES, Flat.data32(0), 0x4fff, 0x123]] as const;
    for (const source of ['rep stosb', 'rep stosd', 'rep movsw', 'repe scasb']) {
      const gprs = { rcx: 300, rsi: FIRST, rdi: 0x4fff - 150 };
      const { ending } = same({ source, bits: 32, gprs, segments });
      expect(ending).toMatchObject({ kind: 'exception', vector: Vector.GP });
      same({ source, bits: 32, gprs: { ...gprs, rdi: 0x4fff - 1 }, segments, flags: Rflags.DF });
    }
    same({
      source: 'rep movsb',
      bits: 32,
      gprs: { rcx: 90, rsi: 0x4fff - 50, rdi: FIRST },
      segments: [[Segment.DS, Flat.data32(0), 0x4fff, 0]],
    });
  });

  test('segments that are no plain ones are asked for each element', () => {
    const down = A.P | A.S | A.CONFORMING | A.WRITABLE | A.DB;
    same({
      source: 'rep stosb',
      bits: 32,
      gprs: { rcx: 90, rdi: 0x4fff },
      segments: [[Segment.ES, down, 0x4fff - 50, 0]],
      flags: Rflags.DF,
    });
    const readOnly = A.P | A.S | A.DB;
    const gprs = { rcx: 90, rsi: FIRST, rdi: FIRST + 0x1000 };
    expect(same({ source: 'rep movsb', bits: 32, gprs, segments: [[Segment.ES, readOnly, FLAT, 0]] }).ending).toMatchObject({
      vector: Vector.GP,
    });
    expect(same({ source: 'repe cmpsb', bits: 32, gprs, segments: [[Segment.ES, readOnly, FLAT, 0]] }).ending).toEqual(limit);
  });

  test('in 64-bit mode FS has a base, and offset and address must both be canonical', () => {
    for (const base of [0, 0x123, 0x1000]) {
      const segments = [[Segment.FS, Flat.data32(0), 0, base]] as const;
      same({ source: 'fs rep movsb', gprs: { rcx: 300, rsi: FIRST + 0xf00, rdi: FIRST }, segments, bytes: counting });
      same({ source: 'fs rep movsb', gprs: { rcx: 300, rsi: HIGH + 0xf80 - base, rdi: FIRST }, segments, bytes: counting });
      same({ source: 'fs a32 rep lodsb', gprs: { rcx: 300, rsi: FIRST + 0xf00 }, segments, bytes: counting });
    }
    // The offset leaves the canonical ones, or wraps at 32 bits, in the middle of a linear page.
    const last = { rcx: 300, rsi: 0x7fff_ffff_ffc0, rdi: FIRST };
    const { ending, rcx } = same({
      source: 'fs rep movsb',
      gprs: last,
      segments: [[Segment.FS, 0, 0, FIRST + 0x1100 - 2 ** 47]],
      bytes: counting,
    });
    expect([ending, rcx]).toMatchObject([{ vector: Vector.GP }, 300 - 64]);
    const wraps = { rcx: 300, rsi: 0xffff_ffc0, rdi: FIRST };
    same({ source: 'fs a32 rep movsb', gprs: wraps, segments: [[Segment.FS, 0, 0, FIRST + 0x1100 - 2 ** 32]], bytes: counting });
    expect(same({ source: 'rep stosb', gprs: { rcx: 300, rdi: HIGH + 0xf80 } }).ending).toMatchObject({ vector: Vector.GP });
  });

  test('a copy onto the instruction itself takes effect at once', () => {
    // 40 bytes of NOP in front of it, HLT copied over all of them.
    const bytes = (page: number): Uint8Array => (page === 0x4000 ? zeros().fill(0xf4) : zeros());
    for (const distance of [-20, -3, -1, 0, 1, 2, 5, 20, 70])
      same({ source: 'rep movsb', at: CODE + 0x200, gprs: { rcx: 60, rsi: FIRST, rdi: CODE + 0x200 + distance }, bytes }, 100);
    for (const rdi of [CODE + 0x1fe, CODE + 0x210])
      same({ source: 'rep stosb\ninc eax\ninc ebx', at: CODE + 0x200, gprs: { rax: 0xc3, rcx: 8, rdi } }, 30);
  });

  test('code that was executed before it was copied over is decoded anew', () => {
    // Runs the NOPs at 1100h, then copies INC EAX over them and runs them again.
    const source = `call ${CODE + 0x1100}\nrep movsb\ncall ${CODE + 0x1100}\nhlt`;
    for (const bench of [whole, hot, single]) {
      prepare(bench, { source, gprs: { rcx: 62, rsi: FIRST, rdi: CODE + 0x1100 } });
      bench.setGpr(Gpr.RSP, BigInt(FIRST + 0x1800));
      bench.write(CODE + 0x113f, Uint8Array.of(0xc3));
      for (let k = 0; k < 62; k += 2) bench.write(0x4000 + k, Uint8Array.of(0xff, 0xc0));
      if (bench === single) for (let k = 0; k < 400; k++) bench.run(1);
      else bench.run(400);
      expect(bench.gpr(Gpr.RAX)).toBe(31n);
    }
  });

  test('a data breakpoint traps behind its element', () => {
    const { rcx, ending } = same({ source: 'rep stosb', gprs: { rcx: 90, rdi: FIRST + 0xfc0 }, dr0: FIRST + 0x1010 });
    expect(ending).toMatchObject({ kind: 'exception', vector: Vector.DB });
    expect(rcx).toBe(90 - 0x51);
    same({ source: 'rep movsq', gprs: { rcx: 90, rsi: FIRST, rdi: FIRST + 0x1000 }, dr0: FIRST + 0x10, dr7: 0xf0401 });
  });

  test('TF traps behind each element', () => {
    expect(same({ source: 'rep movsb', flags: Rflags.TF, gprs: { rcx: 9, rsi: FIRST, rdi: FIRST + 64 } })).toMatchObject({ rcx: 8 });
  });

  test('random ones', () => {
    const chance = new RandomStream(new Uint8Array(32));
    const pick = <T>(list: readonly T[]): T => list[chance.u32() % list.length] as T;
    const operations = ['rep movs', 'rep movs', 'rep stos', 'rep lods', 'repe cmps', 'repne cmps', 'repe scas', 'repne scas', 'repne movs'];
    for (let round = 0; round < 600; round++) {
      const bits = pick([64, 64, 32, 16] as const);
      const width = pick(bits === 64 ? ['b', 'w', 'd', 'q'] : ['b', 'w', 'd']);
      const address = pick(bits === 64 ? ['', '', 'a32 '] : ['', bits === 32 ? 'a16 ' : 'a32 ']);
      const place = (): number => FIRST + (pick([0, 0x1000, 0x2000, 0x4000, 0x800, 0xff0, 0x1ff3, 0x2fe0, 0x4fc8]) + (chance.u32() & 63));
      const rsi = place();
      const alphabet = chance.u32() & 1 ? 0x01 : 0xff;
      const noise = chance.bytes(4096).map((byte) => (byte < 250 ? alphabet & 1 : byte & alphabet));
      const segment = (): readonly [Segment, number, number, number] => [
        pick([Segment.DS, Segment.ES]),
        Flat.data32(0),
        pick([FLAT, FLAT, 0x4fff, 0x5ff7]),
        pick([0, 0, 0x10, 0x123, 0xffff_f000]),
      ];
      const setup: Setup = {
        source: `${address}${pick(operations)}${width}\ninc ebx`,
        bits,
        flags: pick([0, 0, Rflags.DF]) | (chance.u32() & Rflags.CF),
        gprs: {
          rax: pick([0n, 1n, 0x0101_0101_0101_0101n, chance.u64()]),
          rcx: pick([1, 2, 5, 17, 48, 130, 300]),
          rsi,
          rdi: pick([rsi + (chance.u32() & 31), rsi - (chance.u32() & 31), place(), place(), place()]),
        },
        segments: bits === 64 ? [] : [segment(), segment()],
        bytes: () => noise,
        ...(chance.u32() % 8 === 0 ? { dr0: place() & ~3 } : {}),
      };
      same(setup, pick([20, 77, 400, 400]));
    }
  }, 120_000);

  test('a thousand million elements take no long time', () => {
    prepare(whole, {
      source: `again: mov ecx, 0x1000\nmov edi, ${FIRST}\nrep stosb\ndec ebx\njne again`,
      gprs: {},
    });
    whole.setGpr(Gpr.RBX, 0x4_0000n);
    expect(whole.run(0x4_0000 * 0x1004)).toEqual(limit);
    expect(whole.rip).toBe(BigInt(CODE + 16));
    expect(whole.cpu.elements).toBe(0x4_0000 * 0xfff);
  }, 10_000);
});
