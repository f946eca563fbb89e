// Properties of every instruction: it does the same wherever it lies, also across two pages; and if any of its accesses faults, nothing
// of it has happened. Where silicon itself leaves something behind (ENTER, PUSHA, POPA, elements of REP), tables of their own say what.

import { describe, expect, test } from 'vitest';
import { PageFault, Vector } from '../../src/arch/exception.ts';
import { assemble } from '../../src/asm/assemble.ts';
import { Gpr, Segment, State } from '../../src/memory/state.ts';
import { Bench, type Ending, Flat, Permission } from './bench.ts';

const CODE = 0x1_0000;
const SAFE = 0x2_0000;
/** Pages that end, or begin, where an access may not go: [first byte beyond, direction]. */
const Edge = { beforeAbsent: 0x4_1000, beforeReadOnly: 0x5_1000, behindAbsent: 0x6_1000, behindReadOnly: 0x7_1000 } as const;
const CODE_EDGE = 0x8_1000;
const FLAT = 0xffff_ffff;
const { USER, WRITE } = Permission;

const bench = new Bench();
const data = [SAFE, SAFE + 0x1000, 0x4_0000, 0x5_0000, 0x5_1000, 0x6_1000, 0x7_0000, 0x7_1000];
const readOnly: ReadonlySet<number> = new Set([0x5_1000, 0x7_0000]);
for (const page of data) bench.map(page, page, readOnly.has(page) ? USER : USER | WRITE);
bench.map(CODE, CODE, USER | WRITE);
bench.map(CODE + 0x1000, CODE + 0x1000, USER | WRITE);
bench.map(CODE_EDGE - 0x1000, CODE_EDGE - 0x1000, USER | WRITE);

/** Instructions with memory operands off RBX, RSI, RDI and RSP: whatever can be pointed at an edge. */
const source: Readonly<Record<64 | 32, string>> = {
  64: `
    mov [rbx], al | mov [rbx], ax | mov [rbx], eax | mov [rbx], rax | mov rax, [rbx] | mov qword [rbx], 5 | movzx eax, word [rbx] | movsxd rax, dword [rbx] | movbe rax, [rbx] | movbe [rbx], eax
    add [rbx], rax | adc dword [rbx], 7 | sub rax, [rbx] | cmp [rbx], rax | and [rbx], ax | not qword [rbx] | neg dword [rbx] | inc word [rbx] | dec qword [rbx] | test [rbx], rax
    xchg rax, [rbx] | xadd [rbx], rcx | cmpxchg [rbx], rcx | cmpxchg8b [rbx] | cmpxchg16b [rbx] | cmovz rax, [rbx] | setc [rbx] | crc32 rax, qword [rbx]
    shl qword [rbx], cl | rcr dword [rbx], 1 | shld [rbx], rax, cl | shrd [rbx], eax, 3 | rol word [rbx], 5 | bt [rbx], rcx | bts [rbx], rcx | btr qword [rbx], 5 | bsf rax, [rbx] | popcnt eax, [rbx] | lzcnt rax, [rbx]
    mul qword [rbx] | imul rax, [rbx], 5 | div qword [rbx] | idiv dword [rbx] | andn rax, rcx, [rbx] | pdep rax, rcx, [rbx] | mulx rax, rcx, [rbx] | adcx rax, [rbx] | rorx rax, [rbx], 5
    push rax | push qword [rbx] | pop rax | pop qword [rbx] | pushf | popf | leave | call rax | call qword [rbx] | ret | ret 16 | iretq | jmp qword [rbx]
    movsb | movsw | movsd | movsq | cmpsb | cmpsq | stosb | stosq | lodsb | lodsq | scasb | scasq | xlatb
    movups [rbx], xmm1 | movups xmm1, [rbx] | movdqu [rbx], xmm1 | movq [rbx], xmm1 | movd xmm1, dword [rbx] | movss [rbx], xmm1 | movsd xmm1, qword [rbx] | movhps [rbx], xmm1 | movlpd xmm1, [rbx] | lddqu xmm1, [rbx]
    movaps [rbx], xmm1 | addps xmm1, [rbx] | addsd xmm1, [rbx] | cvtsi2sd xmm1, qword [rbx] | cvtps2pd xmm1, [rbx] | ucomisd xmm1, [rbx] | pinsrw xmm1, [rbx], 3 | pextrw [rbx], xmm1, 3 | movnti [rbx], rax | movntdq [rbx], xmm1
    ldmxcsr [rbx] | stmxcsr [rbx] | maskmovdqu xmm1, xmm2 | pcmpistri xmm1, [rbx], 0 | paddb mm1, [rbx] | movq [rbx], mm1 | movntq [rbx], mm1
    fld dword [rbx] | fld qword [rbx] | fld tword [rbx] | fst dword [rbx] | fstp qword [rbx] | fstp tword [rbx] | fild qword [rbx] | fistp word [rbx] | fisttp dword [rbx] | fbld [rbx] | fbstp [rbx] | fadd qword [rbx] | ficom dword [rbx]
    fldcw [rbx] | fnstcw [rbx] | fnstsw [rbx] | fldenv [rbx] | fnstenv [rbx] | frstor [rbx] | fnsave [rbx] | fxsave [rbx] | fxrstor [rbx] | xsave [rbx] | xsavec [rbx] | xsaveopt [rbx] | xrstor [rbx]
    sgdt [rbx] | sidt [rbx] | lgdt [rbx] | lidt [rbx] | sldt [rbx] | str [rbx] | smsw [rbx] | lmsw [rbx] | lar eax, word [rbx] | verr [rbx] | mov fs, [rbx] | mov [rbx], ds | lfs eax, [rbx]`,
  32: `
    mov [ebx], eax | add [ebx], eax | xchg eax, [ebx] | push eax | push dword [ebx] | pop eax | pop dword [ebx] | pushfd | popfd | leave | call dword [ebx] | ret | iretd
    bound eax, [ebx] | arpl [ebx], ax | les eax, [ebx] | lds eax, [ebx] | push ds | pop ds | movsd | stosd | lodsd | cmpsd | fnsave [ebx] | fxsave [ebx] | sgdt [ebx] | cmpxchg8b [ebx]`,
};
const list = (bits: 64 | 32): string[] =>
  source[bits]
    .split(/[|\n]/)
    .map((line) => line.trim())
    .filter(Boolean);

/** Parts of the state block that a program sees: general registers, RIP, flags; segments; x87, SSE and their controls. */
const seen = [
  [State.GPR, State.ZERO],
  [State.FLAG_RESULT, State.FUEL],
  [State.SEGMENTS, State.FAULT_VECTOR - 16],
  [State.XMM, State.FDS + 2],
] as const;

function snapshot(): Buffer {
  const { u8 } = bench.memory;
  return Buffer.concat([
    ...seen.map(([from, to]) => u8.subarray(bench.state + from, bench.state + to)),
    ...data.map((page) => bench.read(page, 0x1000)),
  ]);
}
const PATTERN = new Uint8Array(0x1000).map((_, n) => (n * 7) & 0x7f);
const HALTS = new Uint8Array(0x1000).fill(0xf4);

function prepare(bits: 64 | 32, rip: number, code: Uint8Array, registers: Readonly<Record<number, number>>): void {
  bench.reset();
  bench.setSegment(Segment.CS, 0x08, bits === 64 ? Flat.code64(0) : Flat.code32(0), FLAT, 0);
  for (const segment of [Segment.SS, Segment.DS, Segment.ES]) bench.setSegment(segment, 0x10, Flat.data32(0), FLAT, 0);
  for (let n = 0; n < 16; n++) bench.setGpr(n, BigInt(n === Gpr.RCX ? 3 : 0x1111 * n));
  for (const [n, value] of Object.entries({
    [Gpr.RBX]: SAFE,
    [Gpr.RSI]: SAFE,
    [Gpr.RDI]: SAFE + 0x400,
    [Gpr.RSP]: SAFE + 0x800,
    [Gpr.RBP]: SAFE + 0x800,
    ...registers,
  }))
    bench.setGpr(Number(n), BigInt(value));
  bench.setU64(State.CR4, bench.u64(State.CR4) | (1n << 18n));
  bench.setU64(State.XCR0, 3n);
  // Something in XMM1, XMM2 and R0; R0 to R3 are in use.
  for (const at of [State.XMM + 16, State.XMM + 32, State.X87]) bench.setU64(at, 0x8765_4321_8765_4321n);
  bench.memory.view.setUint16(bench.state + State.FTW, 0xff00, true);
  bench.setU64(State.RIP, BigInt(rip));
  for (const page of data) bench.write(page, PATTERN);
  for (const page of [CODE, CODE + 0x1000, CODE_EDGE - 0x1000]) bench.write(page, HALTS);
  const here = Math.min(code.length, 0x1000 - (rip & 0xfff));
  bench.write(rip, code.subarray(0, here));
  if (here < code.length && rip + here !== CODE_EDGE) bench.write(rip + here, code.subarray(here));
  bench.settle();
}

/** Stack instructions reach down from RSP, all others up. */
const pointers = { up: [Gpr.RBX, Gpr.RSI, Gpr.RDI, Gpr.RSP, Gpr.RBP], down: [Gpr.RSP] } as const;
const REACH = 24;
const FAR_REACH = [32, 64, 108, 160, 512, 560];

describe.each([64, 32] as const)('in %i-bit mode', (bits) => {
  const cases = list(bits).map((line) => [line, assemble(line, { bits, origin: BigInt(CODE) }).bytes] as const);

  test.each(cases)('%s: a page fault at any access leaves everything as it was', (line, code) => {
    let faults = 0;
    const tryAt = (register: number, address: number): void => {
      prepare(bits, CODE, code, { [register]: address });
      const before = snapshot();
      const ending = bench.run(1);
      if (ending.kind !== 'exception') return;
      faults += ending.vector === Vector.PF ? 1 : 0;
      if (!snapshot().equals(before))
        expect.fail(`${line} at ${address.toString(16)} in register ${register}, vector ${ending.vector}: something was left behind`);
    };
    for (const edge of [Edge.beforeAbsent, Edge.beforeReadOnly])
      for (const register of pointers.up) for (const d of [...Array(REACH).keys(), ...FAR_REACH]) tryAt(register, edge - d);
    for (const edge of [Edge.behindAbsent, Edge.behindReadOnly])
      for (const register of pointers.down) for (let d = 0; d < REACH; d++) tryAt(register, edge + d);
    expect(faults).toBeGreaterThan(0);
  });

  test.each(cases)('%s: across two pages at every offset', (line, code) => {
    const results = new Set<string>();
    for (let k = 0; k <= code.length; k++) {
      const rip = CODE + 0x1000 - k;
      prepare(bits, rip, code, {});
      const ending = bench.run(1);
      // RIP, and what a CALL pushes, depend on the place.
      if (!line.startsWith('call'))
        results.add(JSON.stringify([relative(ending), Number(bench.rip) - rip < 16 ? Number(bench.rip) - rip : 'elsewhere', withoutRip()]));
    }
    expect(results.size).toBeLessThanOrEqual(1);
  });

  test.each(cases)('%s: the fetch of its second page faults', (_, code) => {
    for (let k = 1; k < code.length; k++) {
      prepare(bits, CODE_EDGE - k, code, {});
      const before = snapshot();
      expect(bench.run(1)).toEqual({ kind: 'exception', vector: Vector.PF, errorCode: PageFault.ID, address: BigInt(CODE_EDGE) });
      expect(snapshot().equals(before)).toBe(true);
    }
  });
});

const relative = (ending: Ending): unknown =>
  ending.kind === 'exception' ? [ending.vector, ending.errorCode, ending.address.toString(16)] : ending.kind;

/** The snapshot without RIP and the x87's last instruction pointer. */
function withoutRip(): string {
  const { view } = bench.memory;
  view.setBigUint64(bench.state + State.RIP, 0n, true);
  view.setBigUint64(bench.state + State.FIP, 0n, true);
  return snapshot().toString('base64');
}
