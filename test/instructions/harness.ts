// Runs instruction cases on the processor and compares everything: registers, flags, memory, exception.

import { expect } from 'vitest';
import { assemble } from '../../src/asm/assemble.ts';
import { ARITHMETIC_FLAGS, Rflags } from '../../src/arch/registers.ts';
import { Segment, State } from '../../src/memory/state.ts';
import { Bench, type Ending, Flat, Permission } from './bench.ts';
import { type FlagList, type InstructionCase, type Media, mediaNames, Place, registerNames } from './case.ts';

const { CODE, DATA, DATA_SIZE, READ_ONLY, STACK, TABLES } = Place;
const MOST_STEPS = 1000;
const FLAT = 0xffff_ffff;
/** The task state segment in the page of tables. */
const TASK = 0x200;
const TASK_LIMIT = 0x67;
/** Flags that cases speak about. */
const SHOWN = ARITHMETIC_FLAGS | Rflags.DF | Rflags.IF | Rflags.AC;
const { WRITE, USER, NO_EXECUTE } = Permission;

const bench = new Bench();
bench.map(CODE, CODE, USER);
bench.map(CODE + 0x1000, CODE + 0x1000, USER);
for (let at = DATA; at < DATA + DATA_SIZE; at += 0x1000) bench.map(at, at, USER | WRITE | NO_EXECUTE);
bench.map(READ_ONLY, READ_ONLY, USER | NO_EXECUTE);
bench.map(TABLES, TABLES, WRITE | NO_EXECUTE);
// The task state segment has no I/O permission bitmap.
bench.write(TABLES + TASK + 0x66, Uint8Array.of(TASK_LIMIT + 1));

const flagBits = (list: FlagList): number =>
  list
    .split(' ')
    .filter(Boolean)
    .reduce((bits, name) => bits | Rflags[name as keyof typeof Rflags], 0);
const flagList = (bits: number): string =>
  Object.entries(Rflags)
    .filter(([name, bit]) => name !== 'ALWAYS_1' && (bits & bit & SHOWN) !== 0)
    .map(([name]) => name)
    .join(' ');
const fromHex = (text: string): Uint8Array => Uint8Array.from(text.split(' ').filter(Boolean), (byte) => Number.parseInt(byte, 16));

/** Everything that a case is judged by. */
type Outcome = {
  readonly ending: Ending;
  readonly registers: Record<string, string>;
  readonly media: Record<string, string>;
  readonly flags: string;
  readonly data: string;
};

/** A value that no instruction of a case computes by chance, so that an unwanted write shows. */
const untouched = (n: number): bigint => 0x0101_0101_0101_0101n * BigInt(n + 1);

export function check(c: InstructionCase): void {
  const bits = c.mode ?? 64;
  // IP has 16 bits: 16-bit code has a segment of its own.
  const start = bits === 16 ? 0 : CODE;
  const { bytes } = assemble(c.source, { bits, origin: BigInt(start) });
  const registers = prepare(c, bytes, start);
  const before = readMedia();
  const ending = run(BigInt(start + bytes.length), c.exception !== undefined);
  const media = readMedia();
  const undefinedFlags = flagBits(c.undefined ?? '');
  const actual: Outcome = {
    ending,
    registers: Object.fromEntries([...registerNames.map((name, n) => [name, value(bench.gpr(n))]), ['rip', value(bench.rip)]]),
    media: mediaValues((name) => media.get(name)),
    flags: flagList(bench.rflags & ~undefinedFlags),
    data: differences(bench.read(DATA, DATA_SIZE + 0x1000), dataBytes(c, false)),
  };
  const out: Record<string, bigint> = { ...registers, rip: BigInt(start + (c.exception ? 0 : bytes.length)) };
  for (const [name, wanted] of Object.entries(c.out ?? {})) out[name] = BigInt.asUintN(64, BigInt(wanted));
  const expected: Outcome = {
    ending: expectedEnding(c),
    registers: Object.fromEntries(Object.entries(out).map(([name, wanted]) => [name, value(wanted)])),
    media: mediaValues((name) => BigInt(c.mediaOut?.[name] ?? before.get(name) ?? 0n)),
    flags: flagList(flagBits(c.flags ?? c.flagsIn ?? '') & ~undefinedFlags),
    data: differences(dataBytes(c, true), dataBytes(c, false)),
  };
  expect(actual).toEqual(expected);
}

/** Where a register lies, and how many bytes it has. */
function mediaPlace(name: keyof Media): readonly [offset: number, bytes: number] {
  if (name.startsWith('xmm')) return [State.XMM + 16 * Number(name.slice(3)), 16];
  if (name.startsWith('r')) return [State.X87 + 16 * Number(name.slice(1)), 10];
  return name === 'mxcsr' ? [State.MXCSR, 4] : [name === 'fcw' ? State.FCW : name === 'fsw' ? State.FSW : State.FTW, 2];
}

function readMedia(): Map<keyof Media, bigint> {
  const found = new Map<keyof Media, bigint>();
  for (const name of mediaNames) {
    const [offset, bytes] = mediaPlace(name);
    let value = 0n;
    for (let n = bytes - 1; n >= 0; n--) value = (value << 8n) | BigInt(bench.memory.view.getUint8(bench.state + offset + n));
    found.set(name, value);
  }
  return found;
}

function writeMedia(name: keyof Media, value: bigint): void {
  const [offset, bytes] = mediaPlace(name);
  for (let n = 0; n < bytes; n++) bench.memory.view.setUint8(bench.state + offset + n, Number((value >> BigInt(8 * n)) & 0xffn));
}

const mediaValues = (of: (name: keyof Media) => bigint | undefined): Record<string, string> =>
  Object.fromEntries(mediaNames.map((name) => [name, value(of(name) ?? 0n)]));

const value = (n: bigint): string => `0x${n.toString(16)}`;

function expectedEnding(c: InstructionCase): Ending {
  const { exception } = c;
  if (!exception) return { kind: 'limit' };
  return { kind: 'exception', vector: exception.vector, errorCode: exception.code ?? 0, address: BigInt(exception.address ?? 0) };
}

/** Runs until RIP is behind the code or something else ends the run. */
function run(end: bigint, untilException: boolean): Ending {
  let ending: Ending = { kind: 'limit' };
  for (let n = 0; n < MOST_STEPS && ending.kind === 'limit' && (untilException || bench.rip !== end); n++) ending = bench.run(1);
  return ending;
}

function prepare(c: InstructionCase, code: Uint8Array, start: number): Record<string, bigint> {
  const bits = c.mode ?? 64;
  const cpl = c.cpl ?? 0;
  bench.reset();
  const registers: Record<string, bigint> = {};
  for (const [n, name] of registerNames.entries()) {
    const given =
      c.in?.[name] ?? (name === 'rsp' ? (bits === 16 ? 0x1000 : STACK) : bits === 64 ? untouched(n) : untouched(n) & 0xffff_ffffn);
    registers[name] = BigInt.asUintN(64, BigInt(given));
    bench.setGpr(n, registers[name]);
  }
  bench.setU64(State.RIP, BigInt(start));
  segments(bits, cpl);
  bench.setU32(State.CPL, cpl);
  bench.rflags = flagBits(c.flagsIn ?? '') | Rflags.ALWAYS_1;
  for (const name of mediaNames) {
    const given = c.media?.[name];
    if (given !== undefined) writeMedia(name, BigInt(given));
  }
  for (const [offset, given] of Object.entries(c.state ?? {})) {
    if (Number(offset) === State.RFLAGS) bench.rflags = Number(given) | flagBits(c.flagsIn ?? '');
    else bench.setU64(Number(offset), given);
  }
  bench.write(CODE, new Uint8Array(0x2000).fill(0xf4));
  bench.write(CODE, code);
  bench.write(DATA, dataBytes(c, false));
  bench.write(TABLES, new Uint8Array(0x80));
  for (const [selector, descriptor] of Object.entries(c.tables ?? {})) {
    const raw = new Uint8Array(8);
    new DataView(raw.buffer).setBigUint64(0, descriptor, true);
    bench.write(TABLES + Number(selector), raw);
  }
  bench.settle();
  return registers;
}

/** FS has the base DATA; in 16-bit mode all data segments have it, and the code segment has the base CODE. */
function segments(bits: 16 | 32 | 64, cpl: number): void {
  const code = bits === 64 ? Flat.code64(cpl) : bits === 32 ? Flat.code32(cpl) : Flat.code16(cpl);
  const data = bits === 16 ? Flat.data16(cpl) : Flat.data32(cpl);
  bench.setSegment(Segment.CS, 0x08 | cpl, code, bits === 16 ? 0xffff : FLAT, bits === 16 ? CODE : 0);
  for (const segment of [Segment.SS, Segment.DS, Segment.ES, Segment.FS, Segment.GS])
    bench.setSegment(segment, 0x10 | cpl, data, bits === 16 ? 0xffff : FLAT, bits === 16 ? DATA : 0);
  bench.setSegment(Segment.FS, 0, 0, FLAT, DATA);
  bench.setSegment(Segment.GDTR, 0, 0, 0x7f, TABLES);
  bench.setSegment(Segment.IDTR, 0, 0, 0xfff, TABLES + 0x400);
  bench.setSegment(Segment.TR, 0x40, Flat.task, TASK_LIMIT, TABLES + TASK);
}

/** The data pages before, or after what the case says is written. */
function dataBytes(c: InstructionCase, after: boolean): Uint8Array {
  const bytes = new Uint8Array(DATA_SIZE + 0x1000);
  for (const contents of [c.memory, after ? c.memoryOut : undefined]) {
    for (const [address, text] of Object.entries(contents ?? {})) bytes.set(fromHex(text), Number(address) - DATA);
  }
  return bytes;
}

/** What was written, as "address: byte" for each byte that changed. */
function differences(now: Uint8Array, before: Uint8Array): string {
  const changed: string[] = [];
  for (const [n, byte] of now.entries()) if (byte !== before[n]) changed.push(`${(DATA + n).toString(16)}: ${byte.toString(16)}`);
  return changed.join(', ');
}
