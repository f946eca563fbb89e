// The processor on caches that do not keep views coherent: data, code and page tables in a page that is seen under two keys, and what CLFLUSH, CLWB,
// WBINVD and WBNOINVD do about it. APM vol. 2, 15.34.9; vol. 3: CLFLUSH.

import { beforeEach, describe, expect, test } from 'vitest';
import { assemble } from '../../src/asm/assemble.ts';
import { Vector } from '../../src/arch/exception.ts';
import { Gpr, Segment, State } from '../../src/memory/state.ts';
import { compilerDefaults } from '../../src/cpu/compiler/compiler.ts';
import { Bench, Flat, Permission } from '../instructions/bench.ts';

const CODE = 0x1_0000;
const DATA = 0x2_0000;
const ABSENT = 0x9_0000;
const STACK = 0x3_1000;
/** The other view: the bench's engine has one key, the host's. */
const OTHER = 1;
const FLAT = 0xffff_ffff;

describe.each(['interpreter', 'compiler'] as const)('on the %s', (tier) => {
  const bench = new Bench(undefined, undefined, tier === 'compiler' ? { ...compilerDefaults, threshold: 4 } : null);
  for (const page of [CODE, CODE + 0x1000, DATA, DATA + 0x1000, STACK - 0x1000]) bench.map(page, page, Permission.WRITE);

  beforeEach(() => {
    bench.frames.wbinvd();
    bench.frames.coherent = false;
    bench.cpu.reset();
    bench.reset();
    bench.setSegment(Segment.CS, 0x08, Flat.code64(0), FLAT, 0);
    bench.setSegment(Segment.SS, 0x10, Flat.data32(0), FLAT, 0);
    bench.setSegment(Segment.DS, 0x10, Flat.data32(0), FLAT, 0);
    bench.setGpr(Gpr.RSP, BigInt(STACK));
    for (const page of [CODE, CODE + 0x1000, DATA, DATA + 0x1000]) bench.write(page, new Uint8Array(0x1000));
    bench.frames.wbinvd();
  });

  const put = (at: number, source: string): void => bench.write(at, assemble(source, { bits: 64, origin: BigInt(at) }).bytes);
  const run = (source: string): void => {
    put(CODE, `${source}\n hlt`);
    again();
  };
  const again = (): void => {
    bench.setU64(State.RIP, BigInt(CODE));
    bench.setU32(State.HALTED, 0);
    bench.settle();
    bench.run(20_000);
    expect(bench.u32(State.HALTED)).toBe(1);
  };
  const rax = (): number => Number(bench.gpr(Gpr.RAX));
  /** Writes through the other view so that DRAM then holds these bytes for a view without key. */
  const writeThroughOther = (at: number, bytes: Uint8Array): void => {
    const block = new Uint8Array(64);
    block.set(bytes);
    bench.frames.encryption.decrypt(OTHER, at, block);
    bench.frames.write(at, OTHER, block);
  };
  const flushOther = (at: number): void => bench.frames.clflush(at >>> 12, OTHER, at & 0xfff);
  const value = (n: number): Uint8Array => Uint8Array.of(n, 0, 0, 0);

  test('a load finds its own line, stale, until CLFLUSH', () => {
    run(`mov eax, [${DATA}]`);
    writeThroughOther(DATA, value(7));
    flushOther(DATA);
    again();
    expect(rax()).toBe(0);
    run(`clflush [${DATA + 3}]\n mov eax, [${DATA}]`);
    expect(rax()).toBe(7);
  });

  test.each([
    ['clflush', `clflush [${DATA}]`, 5],
    ['clflushopt', `clflushopt [${DATA}]`, 5],
    ['clwb', `clwb [${DATA}]`, 5],
    ['wbinvd', 'wbinvd', 5],
    ['wbnoinvd', 'wbnoinvd', 5],
    ['invd, which writes back (HWCR[INVDWBINVD])', 'invd', 5],
    ['clflush of another line', `clflush [${DATA + 64}]`, 0],
    ['nothing', 'nop', 0],
  ])('a store reaches DRAM by %s', (_name, flush, expected) => {
    run(`mov dword ptr [${DATA}], 5\n ${flush}`);
    const held = new Uint8Array(4096);
    bench.frames.chips(DATA >>> 12, held);
    expect(held[0]).toBe(expected);
  });

  test('loads and stores across lines and pages, with both views alive', () => {
    bench.frames.write(DATA + 0x800, OTHER, value(1));
    bench.frames.write(DATA + 0x1800, OTHER, value(1));
    run(`mov rax, 0x1122334455667788\n mov [${DATA + 0x3c}], rax\n mov [${DATA + 0xffc}], rax\n add qword ptr [${DATA + 0xffc}], 1\n
      mov rbx, [${DATA + 0x3c}]\n mov rcx, [${DATA + 0xffc}]`);
    expect(bench.frames.isByLine(bench.frames.view(DATA >>> 12, 0))).toBe(true);
    expect(bench.gpr(Gpr.RBX)).toBe(0x1122_3344_5566_7788n);
    expect(bench.gpr(Gpr.RCX)).toBe(0x1122_3344_5566_7789n);
    bench.frames.wbinvd();
    expect(bench.physical(DATA + 0xffc, 8).getBigUint64(0, true)).toBe(0x1122_3344_5566_7789n);
  });

  test('a string instruction over a page with two views', () => {
    bench.frames.write(DATA + 0x800, OTHER, value(1));
    run(
      `mov edi, ${DATA + 1}\n mov ecx, 0x300\n mov al, 9\n rep stosb\n mov esi, ${DATA + 1}\n mov edi, ${DATA + 0x1001}\n mov ecx, 0x300\n rep movsb`,
    );
    bench.frames.wbinvd();
    expect(bench.read(DATA, 0x302)).toEqual(Uint8Array.from({ length: 0x302 }, (_, n) => (n > 0 && n <= 0x300 ? 9 : 0)));
    expect(bench.read(DATA + 0x1000, 0x302)).toEqual(bench.read(DATA, 0x302));
  });

  test('code runs from its lines, and as DRAM has it once they are gone', () => {
    const target = CODE + 0x100;
    put(target, 'mov eax, 1\n ret');
    run(`mov ecx, 100\n l: call ${target}\n dec ecx\n jnz l`);
    expect(rax()).toBe(1);
    bench.frames.wbnoinvd();
    writeThroughOther(target, assemble('mov eax, 2\n ret', { bits: 64, origin: BigInt(target) }).bytes);
    flushOther(target);
    again();
    expect(rax()).toBe(1);
    bench.frames.clflush(CODE >>> 12, 0, 0x100);
    again();
    expect(rax()).toBe(2);
  });

  test('an instruction whose first line is there and whose second is not', () => {
    const target = CODE + 0x13c; // the last byte of the immediate lies at 140h
    put(target, 'mov eax, 0x01010101\n ret');
    run(`call ${target}`);
    expect(rax()).toBe(0x0101_0101);
    bench.frames.wbnoinvd();
    writeThroughOther(CODE + 0x140, Uint8Array.of(2, 0xc3));
    flushOther(CODE + 0x140);
    again();
    expect(rax()).toBe(0x0101_0101);
    bench.frames.clflush(CODE >>> 12, 0, 0x140);
    again();
    expect(rax()).toBe(0x0201_0101);
  });

  test('code that flushes its own line goes on', () => {
    run(`mov eax, 1\n clflush [rip - 5]\n inc eax\n wbinvd\n inc eax`);
    expect(rax()).toBe(3);
  });

  test('a device changes code: the lines of its tag are gone, and what was decoded from them', () => {
    const target = CODE + 0x100;
    put(target, 'mov eax, 1\n ret');
    run(`mov ecx, 100\n l: call ${target}\n dec ecx\n jnz l`);
    bench.frames.writeByDevice(target, 0, assemble('mov eax, 2\n ret', { bits: 64, origin: BigInt(target) }).bytes);
    again();
    expect(rax()).toBe(2);
  });

  test('a page table is walked as its lines have it', () => {
    const place = bench.u64(State.CR3);
    let table = Number(place & 0xff_ffff_f000n);
    for (const shift of [39, 30, 21]) {
      table = Number(bench.physical(table + 8 * (Math.floor(DATA / 2 ** shift) & 511), 8).getBigUint64(0, true) & 0xff_ffff_f000n);
    }
    const entry = table + 8 * ((DATA >>> 12) & 511);
    bench.write(DATA + 0x1000, value(6));
    run(`mov eax, [${DATA}]`);
    expect(rax()).toBe(0);
    bench.frames.wbinvd();
    again();
    const line = entry & ~63;
    const bytes = bench.read(line, 64);
    new DataView(bytes.buffer).setBigUint64(entry - line, BigInt(DATA + 0x1000) | 0x63n, true);
    bench.frames.wbnoinvd();
    writeThroughOther(line, bytes);
    flushOther(line);
    again();
    expect(rax()).toBe(0); // the walk's own line
    bench.frames.clflush(table >>> 12, 0, line & 0xfff);
    again();
    expect(rax()).toBe(6);
    bench.frames.wbinvd();
    bench.map(DATA, DATA, Permission.WRITE);
  });

  test('CLFLUSH of an absent page faults as a read, and so does CLWB', () => {
    for (const flush of ['clflush', 'clflushopt', 'clwb']) {
      put(CODE, `${flush} [${ABSENT}]`);
      bench.setU64(State.RIP, BigInt(CODE));
      bench.settle();
      expect(bench.run(10)).toEqual({ kind: 'exception', vector: Vector.PF, errorCode: 0, address: BigInt(ABSENT) });
    }
  });
});
