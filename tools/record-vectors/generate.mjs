// Makes instructions and start states, has them executed by the recorder and writes vector files: for each iced-x86 Code of the families
// FAM that EXCL does not exclude, so many cases as its group's WEIGHT says, then random byte strings (fuzz) and those without a meaning
// (invalid). The order in which chance is drawn is part of the recordings: same seed, same files, so nothing here is changed lightly.
//   node generate.mjs --harness PATH --tmp DIR --out DIR --seed S [--bits 64|32|16] [--scale 1] [--groups alu,...] [--only REGEX]
// `corpus` public or second chooses which half of the operand registers a Code is given.

import * as I from 'iced-x86';
import fs from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import { spawnSync } from 'node:child_process';
const {
  Code,
  CodeExt,
  CpuidFeature,
  OpCodeOperandKind: K,
  OpKind,
  EncodingKind,
  Instruction,
  Decoder,
  DecoderOptions,
  Encoder,
  Register: R,
  InstructionInfoFactory,
  OpAccess,
  MemorySize,
  MemorySizeExt,
  Mnemonic,
} = I;
const arg = (n, d) => {
  const i = process.argv.indexOf('--' + n);
  return i < 0 ? d : process.argv[i + 1];
};
const CORPUS = arg('corpus', 'public'),
  SEED = arg('seed', CORPUS),
  OUT = arg('out', './' + CORPUS),
  SCALE = +arg('scale', '1'),
  ONLY = arg('only', '');
const BITS = +arg('bits', '64'),
  MODE = { 64: 0, 32: 1, 16: 2 }[BITS],
  PREFIX = BITS === 64 ? '' : 'm' + BITS + '-',
  NREG = BITS === 64 ? 16 : 8,
  GROUPS = arg('groups', '') ? arg('groups', '').split(',') : null;
const HARNESS = arg('harness', './build/harness'),
  TMP = arg('tmp', './build');
fs.mkdirSync(OUT, { recursive: true });

// ---------------------------------------------------------------- random
let s0, s1, s2, s3;
function hashStr(s) {
  let h = 2166136261 >>> 0;
  for (const ch of s) {
    h ^= ch.charCodeAt(0);
    h = Math.imul(h, 16777619) >>> 0;
  }
  return h;
}
function reseed(str) {
  let h = hashStr(str);
  const n = () => {
    h = (h + 0x9e3779b9) >>> 0;
    let z = h;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return (z ^ (z >>> 16)) >>> 0;
  };
  s0 = n();
  s1 = n();
  s2 = n();
  s3 = n();
}
function u32() {
  const t = (s0 + s1 + s3) >>> 0;
  s3 = (s3 + 1) >>> 0;
  s0 = s1 ^ (s1 >>> 9);
  s1 = (s2 + (s2 << 3)) >>> 0;
  s2 = ((s2 << 21) | (s2 >>> 11)) >>> 0;
  s2 = (s2 + t) >>> 0;
  return t;
}
const rnd = (n) => u32() % n,
  chance = (p) => u32() / 4294967296 < p,
  pick = (a) => a[rnd(a.length)];
const u64 = () => (BigInt(u32()) << 32n) | BigInt(u32());
const M64 = (1n << 64n) - 1n,
  mask = (b) => (1n << BigInt(b)) - 1n;

// ---------------------------------------------------------------- machine constants (README.md)
const CODE = 0x10000000,
  CODE_SIZE = 0x2000,
  DATA = 0x20000000,
  RW_SIZE = 0x4000,
  DATA_SIZE = 0x5000,
  RIP0 = BITS === 16 ? 0x800 : CODE + 0x800,
  CODE_IP = BITS === 16 ? 0 : CODE,
  DEA = BITS === 16 ? DATA : 0,
  CSSEL = { 64: 0x33n, 32: 0x23n, 16: 0x0fn }[BITS];
const EA = (t) => (typeof t === 'bigint' ? t - BigInt(DEA) : t - DEA); // 16-bit mode: segment base DATA
const GPRN = ['RAX', 'RCX', 'RDX', 'RBX', 'RSP', 'RBP', 'RSI', 'RDI', 'R8', 'R9', 'R10', 'R11', 'R12', 'R13', 'R14', 'R15'];
const WM = BITS === 64 ? M64 : 0xffffffffn;
const BASE_GPR = GPRN.map((_, i) => (i >= NREG ? 0n : i === 4 ? BigInt(EA(0x20002000)) : (0x9e3779b97f4a7c15n * BigInt(i + 1)) & WM));
const BASE_XMM = Array.from(
  { length: 16 },
  (_, i) => (((0xbf58476d1ce4e5b9n * BigInt(2 * i + 2)) & M64) << 64n) | ((0xbf58476d1ce4e5b9n * BigInt(2 * i + 1)) & M64),
);
const regName = (r) => R[r];
const GPR64 = [];
for (let i = 0; i < NREG; i++) GPR64.push(R[GPRN[i]]);
const regsOf = (pre) => Array.from({ length: NREG }, (_, i) => pre(i));
const GPR32 = regsOf((i) => R[['EAX', 'ECX', 'EDX', 'EBX', 'ESP', 'EBP', 'ESI', 'EDI'][i] ?? 'R' + i + 'D']);
const GPR16 = regsOf((i) => R[['AX', 'CX', 'DX', 'BX', 'SP', 'BP', 'SI', 'DI'][i] ?? 'R' + i + 'W']);
const GPR8L = Array.from({ length: 16 }, (_, i) => R[['AL', 'CL', 'DL', 'BL', 'SPL', 'BPL', 'SIL', 'DIL'][i] ?? 'R' + i + 'L']),
  GPR8 = (BITS === 64 ? GPR8L : GPR8L.slice(0, 4)).concat([R.AH, R.CH, R.DH, R.BH]);
const XMM = regsOf((i) => R['XMM' + i]),
  MM = Array.from({ length: 8 }, (_, i) => R['MM' + i]),
  ST = Array.from({ length: 8 }, (_, i) => R['ST' + i]);
const full = new Map(); // register -> {k:'g'|'x'|'m', i}
GPR64.forEach((r, i) => full.set(r, { k: 'g', i, b: 64 }));
GPR32.forEach((r, i) => full.set(r, { k: 'g', i, b: 32 }));
GPR16.forEach((r, i) => full.set(r, { k: 'g', i, b: 16 }));
GPR8L.forEach((r, i) => full.set(r, { k: 'g', i, b: 8, hi: false }));
[R.AH, R.CH, R.DH, R.BH].forEach((r, i) => full.set(r, { k: 'g', i, b: 8, hi: true }));
XMM.forEach((r, i) => full.set(r, { k: 'x', i }));
MM.forEach((r, i) => full.set(r, { k: 'm', i }));
ST.forEach((r, i) => full.set(r, { k: 's', i }));

// ---------------------------------------------------------------- which Codes
const FAM = {
  INTEL8086: 1,
  INTEL186: 1,
  INTEL286: 1,
  INTEL386: 1,
  INTEL486: 1,
  X64: 1,
  PAUSE: 1,
  CMOV: 1,
  CX8: 1,
  CMPXCHG16B: 1,
  MULTIBYTENOP: 1,
  PREFETCHW: 1,
  CLFSH: 1,
  CLFLUSHOPT: 1,
  CLWB: 1,
  MOVBE: 1,
  POPCNT: 1,
  LZCNT: 1,
  BMI1: 1,
  BMI2: 1,
  ADX: 1,
  FSGSBASE: 1,
  CET_IBT: 1,
  SYSCALL: 1,
  MSR: 1,
  SMAP: 1,
  SEP: 1,
  WBNOINVD: 1,
  CLZERO: 1,
  SMM: 0,
  FPU: 1,
  FPU387: 1,
  FPU287: 1,
  'FPU+CMOV': 1,
  'FPU+SSE3': 1,
  MMX: 1,
  SSE: 1,
  SSE2: 1,
  SSE3: 1,
  SSSE3: 1,
  SSE4_1: 1,
  SSE4_2: 1,
  SSE4A: 1,
  AES: 1,
  PCLMULQDQ: 1,
  SHA: 1,
  FXSR: 1,
};
const EXCL =
  /^(Syscall|Sysenter|Sysexit|Int_imm8|Cpuid|Rdtsc|Rdtscp|Rdpmc|Rdpid|Xgetbv|Xsetbv|Xsave|Xrstor|Sgdt|Sidt|Sldt|Str_|Smsw|Lsl_|Lar_|Verr|Verw|Mov_Sreg|Popw_[CDEFGS]S|Popq_[DEFGS]S|Pop[wdq]_[C-GS]S|L[desfg]s_|Vmmcall|Rsm|Invd|Bswap_r16|Jmpe|Loadall|Umov|Call_m1664|Jmp_m1664|Sysret|Int1|Reservednop|Montmul|Xstore|Xcrypt|Prefetchreserved|Fstdw_AX|Fstsg_AX|Frstpm|Fnsetpm|Fsetpm|Femms|Cflsh_0FAE|Cmpxchg486|Ibts|Xbts|Getsec|Frinear|Feni$|Fneni|Fdisi|Fndisi|Fxsave|Fxrstor|Rdfsbase|Wrfsbase|Fldenv|Frstor|Ffreep_DF|Int3)/i;
const FORCE = /^(Fxsave|Fxrstor|Rdfsbase|Wrfsbase|Fldenv|Frstor|Int3|Fdisi|Feni|Fneni|Fndisi|Ffreep)/i;
const PRIV =
  /^(Hlt|Cli|Sti|In_|Out_|Ins|Outs|Lgdt|Lidt|Lldt|Ltr|Lmsw|Clts|Mov_.*cr|Mov_.*dr|Wbinvd|Wbnoinvd|Invlpg|Rdmsr|Wrmsr|Swapgs|Stac|Clac|Mov_r64_tr)/i;
const APPROX = /^(Rcpps|Rcpss|Rsqrtps|Rsqrtss|Fsin|Fcos|Fsincos|Fptan|Fpatan|F2xm1|Fyl2x|Fyl2xp1)/i;
const DEC = DecoderOptions.AMD;
function groupOf(name, f, ins) {
  if (PRIV.test(name)) return 'priv';
  if (APPROX.test(name)) return 'approx';
  if (f.startsWith('FPU')) return 'x87';
  if (f === 'MMX' || [0, 1, 2].some((i) => i < ins.opCount && [K.mm_reg, K.mm_rm, K.mm_or_mem].includes(ins.opKind(i)))) return 'mmx';
  if (/^(AES|PCLMULQDQ|SHA)$/.test(f)) return 'crypto';
  if (/^SSE|^SSSE/.test(f))
    return /(Float|ps_|pd_|ss_|sd_|Cvt|ps$|pd$|ss$|sd$)/.test(name) && !/^(Pand|Por|Pxor|Punpck|Psad|Pmad)/.test(name)
      ? 'sse-fp'
      : 'sse-int';
  if (/^(BMI|LZCNT|POPCNT|ADX|MOVBE)/.test(f) || /^(Bs[fr]_|Bt|Bswap)/.test(name)) return 'bits';
  if (/^(Rol|Ror|Rcl|Rcr|Shl|Shr|Sar|Sal|Shld|Shrd)_/.test(name)) return 'shift';
  if (/^(Mul|Imul|Div|Idiv|Cbw|Cwd|Cdq)/.test(name)) return 'muldiv';
  if (/^(Movs[bwdq]_m|Cmps[bwdq]|Stos|Lods|Scas|Xlat)/.test(name)) return 'string';
  if (/^(J|Call|Ret|Loop|Iret|Int|Ud|Bound)/.test(name)) return 'control';
  if (/^(Push|Pop[fqw]?|Enter|Leave)/.test(name) && !name.startsWith('Popcnt')) return 'stack';
  if (/^(Add|Adc|Sub|Sbb|Cmp|Aa[adms]|Da[as]|Salc|Arpl|And|Or|Xor|Test|Inc|Dec|Neg|Not|Xadd|Cmpxchg)/.test(name)) return 'alu';
  return 'move';
}
const codes = [];
for (const name of Object.keys(Code)) {
  if (!isNaN(+name)) continue;
  const c = Code[name],
    o = CodeExt.opCode(c);
  if (
    !o.isInstruction ||
    (o.fwait && name !== 'Wait') ||
    !(BITS === 64 ? o.mode64 && o.amdDecoder64 : BITS === 32 ? o.mode32 && o.amdDecoder32 : o.mode16 && o.amdDecoder16) ||
    (o.encoding !== EncodingKind.Legacy && o.encoding !== EncodingKind.VEX)
  )
    continue;
  const t = Instruction.create(c),
    f = [...t.cpuidFeatures()].map((x) => CpuidFeature[x]).join('+');
  t.free();
  if (!FAM[f]) continue;
  if (o.encoding === EncodingKind.VEX && !f.startsWith('BMI')) continue;
  if (EXCL.test(name) && !FORCE.test(name) && !PRIV.test(name)) continue;
  const group = groupOf(name, f, o);
  if (GROUPS && !GROUPS.includes(group)) continue;
  codes.push({ name, c, o, f, group });
}
const codeByVal = new Map(codes.map((x) => [x.c, x]));

// ---------------------------------------------------------------- values
const CORN = [
  0n,
  1n,
  M64,
  2n,
  0x7fn,
  0x80n,
  0xffn,
  0x100n,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x10000n,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  0x100000000n,
  0x7fffffffffffffffn,
  0x8000000000000000n,
  0xffffffffffffff80n,
  0xffffffffffff8000n,
  0xffffffff80000000n,
  0xfffffffffffffffen,
  0x5555555555555555n,
  0xaaaaaaaaaaaaaaaan,
  0x0123456789abcdefn,
  10n,
  0x0f0f0f0f0f0f0f0fn,
];
function gval() {
  const r = rnd(16);
  if (r < 6) return pick(CORN);
  if (r < 8) return BigInt(rnd(256));
  if (r < 9) return (pick(CORN) & 0xffffffffn) | (BigInt(u32()) << 32n);
  if (r < 10) return 1n << BigInt(rnd(64));
  if (r < 11) return M64 ^ (1n << BigInt(rnd(64)));
  if (r < 13) return BigInt(u32());
  if (r < 14) return BigInt.asUintN(64, BigInt.asIntN(32, BigInt(u32())));
  return u64();
}
const F32 = [
  0, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000, 0x7fa00001, 0xff812345, 1, 0x80000001, 0x007fffff,
  0x00800000, 0x80800000, 0x7f7fffff, 0xff7fffff, 0x3f000000, 0x40000000, 0x4f000000, 0xcf000000, 0x5f000000, 0xdf000000, 0x4effffff,
  0x3effffff, 0x3fc00000, 0xbfc00000, 0x40200000, 0x4b000001, 0x34000000, 0x33ffffff, 0x7fffffff, 0x00000100, 0x5effffff, 0x40490fdb,
];
const F64 = [
  0n,
  1n << 63n,
  0x3ff0000000000000n,
  0xbff0000000000000n,
  0x7ff0000000000000n,
  0xfff0000000000000n,
  0x7ff8000000000000n,
  0xfff8000000000000n,
  0x7ff4000000000001n,
  0xfff0000000000123n,
  1n,
  0x8000000000000001n,
  0x000fffffffffffffn,
  0x0010000000000000n,
  0x7fefffffffffffffn,
  0xffefffffffffffffn,
  0x3fe0000000000000n,
  0x4000000000000000n,
  0x41e0000000000000n,
  0xc1e0000000000000n,
  0x41dfffffffc00000n,
  0x43e0000000000000n,
  0xc3e0000000000000n,
  0x43dfffffffffffffn,
  0x3fdfffffffffffffn,
  0x3ff8000000000000n,
  0xc004000000000000n,
  0x4330000000000001n,
  0x47efffffe0000000n,
  0x47efffffefffffffn,
  0x36a0000000000000n,
  0x380fffffe0000000n,
  0x400921fb54442d18n,
  0x3cb0000000000000n,
  0x7fffffffffffffffn,
];
function f32v() {
  const r = rnd(10);
  if (r < 5) return pick(F32);
  if (r < 7) return ((rnd(2) << 31) | ((127 + rnd(40) - 8) << 23) | (u32() & 0x7fffff)) >>> 0;
  if (r < 8) return ((rnd(2) << 31) | ((120 + rnd(16)) << 23) | ((u32() & 7) << 20)) >>> 0;
  if (r < 9) return (u32() & 0x807fffff) >>> 0;
  return u32();
}
function f64v() {
  const r = rnd(10);
  if (r < 5) return pick(F64);
  if (r < 7) return (BigInt(rnd(2)) << 63n) | (BigInt(1023 + rnd(80) - 12) << 52n) | (u64() & mask(52));
  if (r < 8) return (BigInt(rnd(2)) << 63n) | (BigInt(1016 + rnd(16)) << 52n) | (BigInt(rnd(8)) << 49n);
  if (r < 9) return (BigInt(rnd(2)) << 63n) | (u64() & mask(52));
  return u64();
}
const E1 = 1n << 63n;
const F80 = [
  [0n, 0],
  [0n, 0x8000],
  [E1, 0x3fff],
  [E1, 0xbfff],
  [E1, 0x7fff],
  [E1, 0xffff],
  [E1 | (1n << 62n), 0x7fff],
  [E1 | (1n << 62n), 0xffff],
  [E1 | 1n, 0x7fff],
  [0xa000000000000000n, 0xffff],
  [1n, 0],
  [E1 - 1n, 0x8000],
  [E1, 0],
  [E1, 1],
  [M64, 0x7ffe],
  [M64, 0xfffe],
  [1n << 62n, 0x4000],
  [0n, 0x7fff],
  [0n, 0x4000],
  [E1, 0x4000],
  [E1, 0x3ffe],
  [E1, 0x401e],
  [E1, 0xc01e],
  [E1, 0x403e],
  [E1, 0xc03e],
  [M64, 0x403d],
  [M64, 0x401d],
  [0xc90fdaa22168c235n, 0x4000],
  [0xc000000000000000n, 0x3fff],
  [0xa000000000000000n, 0xc000],
  [0xde0b6b3a763ffff0n, 0x403a],
  [0x8000000000000000n, 0x400d],
  [0xfffffffffffff800n, 0x43fe],
  [0xfffffffffffffc00n, 0x43fe],
  [0xffffff0000000000n, 0x407e],
  [E1, 0x3c01],
  [E1, 0x3bcc],
  [E1, 0x3f81],
  [0xffffffffffffffffn, 0x3ffe],
];
function f80v() {
  const r = rnd(10);
  if (r < 5) {
    const v = pick(F80);
    return v[0] | (BigInt(v[1]) << 64n);
  }
  let m = u64() | E1,
    e;
  if (r < 8) e = 0x3fff + rnd(70) - 6;
  else if (r < 9) {
    m = (BigInt(rnd(64)) << 58n) | E1;
    e = 0x3ffc + rnd(12);
  } else {
    e = rnd(0x7fff);
    if (chance(0.1)) m = u64();
  }
  return m | (BigInt(e | (rnd(2) << 15)) << 64n);
}
function bcdv() {
  let v = 0n;
  const n = chance(0.7) ? rnd(19) : 18;
  for (let i = 0; i < n; i++) v |= BigInt(chance(0.97) ? rnd(10) : 10 + rnd(6)) << BigInt(4 * i);
  return v | (BigInt(chance(0.5) ? 0x80 : 0) << 72n);
}
function elems(n, bits, f) {
  let v = 0n;
  const same = chance(0.15) ? f() : null;
  for (let i = 0; i < n; i++) v |= BigInt(same ?? f()) << BigInt(i * bits);
  return v;
}
const ival = (b) => () => gval() & mask(b);
// value of a memory/xmm/mm operand of `size` bytes holding elements like memory size ms
function vecval(ms, size) {
  const bits = size * 8;
  let el = 0,
    es = 0;
  try {
    el = MemorySizeExt.elementType(ms);
    es = MemorySizeExt.elementSize(ms);
  } catch {}
  if (el === MemorySize.Float32) return elems(Math.max(1, size >> 2), 32, f32v);
  if (el === MemorySize.Float64) return elems(Math.max(1, size >> 3), 64, f64v);
  if (el === MemorySize.Float80) return f80v();
  if (el === MemorySize.Bcd) return bcdv();
  const eb = es >= 1 && es <= 8 ? es * 8 : pick([8, 16, 32, 64]);
  const n = Math.ceil(bits / eb);
  return elems(n, eb, ival(eb)) & mask(bits);
}

// ---------------------------------------------------------------- instruction construction
const enc = new Encoder(BITS);
function memForm(ins, tAddr, asz) {
  // random addressing form; registers are solved for later
  const tE = EA(tAddr);
  const a16 = BITS === 16 ? chance(0.75) : BITS === 32 && chance(0.06);
  if (a16) {
    ins.memoryIndexScale = 1;
    ins.memoryIndex = R.None;
    ins.memoryBase = R.None;
    ins.memoryDisplacement = 0n;
    ins.memoryDisplSize = 0;
    const q = rnd(9);
    if (q === 8) {
      ins.memoryDisplSize = 2;
      ins.memoryDisplacement = BigInt(tE & 0xffff);
    } else {
      const f = [
        [R.BX, R.SI],
        [R.BX, R.DI],
        [R.BP, R.SI],
        [R.BP, R.DI],
        [R.SI, 0],
        [R.DI, 0],
        [R.BP, 0],
        [R.BX, 0],
      ][q];
      ins.memoryBase = f[0];
      if (f[1]) ins.memoryIndex = f[1];
      const z = f[0] === R.BP && !f[1] ? 1 + rnd(2) : rnd(3);
      ins.memoryDisplSize = z;
      if (z === 1) ins.memoryDisplacement = BigInt.asUintN(16, BigInt(rnd(256) - 128));
      if (z === 2) ins.memoryDisplacement = BigInt(rnd(0x10000));
    }
    if (chance(0.04)) ins.segmentPrefix = pick(BITS === 16 ? [R.DS, R.ES, R.SS] : [R.CS, R.DS, R.ES, R.SS]);
    return;
  }
  const b67 = BITS !== 64 || asz === 32 || (asz === 0 && chance(0.06));
  const G = b67 ? GPR32 : GPR64;
  const r = rnd(20);
  ins.memoryIndexScale = 1;
  ins.memoryIndex = R.None;
  ins.memoryBase = R.None;
  ins.memoryDisplacement = 0n;
  ins.memoryDisplSize = 0;
  const d8 = () => {
      ins.memoryDisplSize = 1;
      ins.memoryDisplacement = BigInt.asUintN(64, BigInt(rnd(256) - 128));
    },
    d32 = () => {
      ins.memoryDisplSize = b67 ? 4 : 8;
      ins.memoryDisplacement = BigInt.asUintN(b67 ? 32 : 64, chance(0.5) ? BigInt(rnd(0x10000) - 0x8000) : BigInt(u32() | 0));
    };
  if (r < 5) ins.memoryBase = pick(G);
  else if (r < 8) {
    ins.memoryBase = pick(G);
    d8();
  } else if (r < 10) {
    ins.memoryBase = pick(G);
    d32();
  } else if (r < 16) {
    ins.memoryBase = pick(G);
    do ins.memoryIndex = pick(G);
    while (ins.memoryIndex === R.RSP || ins.memoryIndex === R.ESP || ins.memoryIndex === ins.memoryBase);
    ins.memoryIndexScale = 1 << rnd(4);
    const q = rnd(3);
    if (q === 1) d8();
    if (q === 2) d32();
  } else if (r < 17) {
    do ins.memoryIndex = pick(G);
    while (ins.memoryIndex === R.RSP || ins.memoryIndex === R.ESP);
    ins.memoryIndexScale = 1 << rnd(4);
    d32();
  } else if (r < 19 && BITS === 64) {
    ins.memoryBase = b67 ? R.EIP : R.RIP;
    ins.memoryDisplacement = BigInt(tAddr);
    ins.memoryDisplSize = b67 ? 4 : 8;
  } else {
    ins.memoryDisplSize = b67 ? 4 : 8;
    ins.memoryDisplacement = BigInt(tE);
  }
  if (
    ins.memoryDisplacement === 0n &&
    ins.memoryBase !== R.None &&
    ins.memoryDisplSize &&
    ins.memoryBase !== R.RIP &&
    ins.memoryBase !== R.EIP
  )
    ins.memoryDisplSize = 1;
  if (BITS === 64 && chance(0.06)) ins.segmentPrefix = pick([R.FS, R.GS]);
  else if (chance(BITS === 64 ? 0.02 : 0.05)) ins.segmentPrefix = pick(BITS === 16 ? [R.DS, R.ES, R.SS] : [R.CS, R.DS, R.ES, R.SS]);
}
const immRand = (bits) => {
  const r = rnd(8);
  const v = r < 4 ? pick(CORN) : r < 6 ? BigInt(rnd(256)) : u64();
  return v & mask(bits);
};
function parityOK(regs, name) {
  if (!regs.length) return true;
  let h = hashStr(name + ':' + regs.join(','));
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d) >>> 0;
  return ((h >>> 12) & 1) === (CORPUS === 'public' ? 0 : 1);
}
const tmpAlign = (ms) => {
  let s = 0;
  try {
    s = MemorySizeExt.size(ms);
  } catch {}
  return s;
};
function randTarget(size) {
  const r = rnd(100); // address of the memory operand
  let al = chance(0.75) ? 16 : 1;
  if (size > 16) al = 16;
  if (r < 92) {
    const a = 0x100 + rnd(RW_SIZE - 0x400 - Math.min(size, 600));
    return DATA + (a & ~(al - 1));
  }
  if (r < 94) return DATA + RW_SIZE + (rnd(0x800) & ~(al - 1)); // read-only page
  if (r < 95) return DATA + RW_SIZE - rnd(Math.max(2, size)); // crosses into the read-only page
  if (r < 97) return DATA + DATA_SIZE - rnd(Math.max(2, size)); // crosses into nothing
  if (r < 98) return DATA + DATA_SIZE + 0x1000 + rnd(0x1000); // unmapped
  return CODE + 0x1000 + (rnd(0x800) & ~(al - 1));
} // readable, executable, not writable
const strKind = (k64, k32, k16) => (BITS === 64 ? (chance(0.1) ? k32 : k64) : BITS === 32 ? k32 : chance(0.15) ? k32 : k16);
function build(info) {
  // -> {bytes, rip} or null
  const { c, o, name } = info;
  const ins = Instruction.create(c);
  const ms = o.memorySize;
  const size = tmpAlign(ms) || 8;
  const rip = RIP0;
  const used = [];
  const T = randTarget(size);
  const opn = o.opCount;
  let hasMem = false;
  const reg = (i, arr) => {
    ins.setOpKind(i, OpKind.Register);
    const r = pick(arr);
    ins.setOpRegister(i, r);
    used.push(r);
  };
  const mem = (i) => {
    ins.setOpKind(i, OpKind.Memory);
    hasMem = true;
    memForm(ins, T, 0);
  };
  const regOrMem = (i, arr) => (chance(0.5) ? reg(i, arr) : mem(i));
  for (let i = 0; i < opn; i++) {
    const kd = o.opKind(i);
    switch (kd) {
      case K.r8_or_mem:
        regOrMem(i, GPR8);
        break;
      case K.r16_or_mem:
        regOrMem(i, GPR16);
        break;
      case K.r32_or_mem:
        regOrMem(i, GPR32);
        break;
      case K.r64_or_mem:
        regOrMem(i, GPR64);
        break;
      case K.mm_or_mem:
        regOrMem(i, MM);
        break;
      case K.xmm_or_mem:
        regOrMem(i, XMM);
        break;
      case K.mem:
        mem(i);
        break;
      case K.mem_offs: {
        ins.setOpKind(i, OpKind.Memory);
        hasMem = true;
        const s = BITS === 64 ? (chance(0.2) ? 4 : 8) : BITS === 32 ? (chance(0.1) ? 2 : 4) : chance(0.2) ? 4 : 2;
        ins.memoryBase = R.None;
        ins.memoryIndex = R.None;
        ins.memoryDisplSize = s;
        ins.memoryDisplacement = BigInt(s === 2 ? EA(T) & 0xffff : EA(T));
        if (BITS === 64 && chance(0.08)) ins.segmentPrefix = pick([R.FS, R.GS]);
        break;
      }
      case K.r8_opcode:
      case K.r8_reg:
        reg(i, GPR8);
        break;
      case K.r16_opcode:
      case K.r16_reg:
      case K.r16_rm:
        reg(i, GPR16);
        break;
      case K.r32_opcode:
      case K.r32_reg:
      case K.r32_rm:
      case K.r32_vvvv:
        reg(i, GPR32);
        break;
      case K.r64_opcode:
      case K.r64_reg:
      case K.r64_rm:
      case K.r64_vvvv:
        reg(i, GPR64);
        break;
      case K.mm_reg:
      case K.mm_rm:
        reg(i, MM);
        break;
      case K.xmm_reg:
      case K.xmm_rm:
        reg(i, XMM);
        break;
      case K.seg_reg:
        reg(i, [R.ES, R.CS, R.SS, R.DS, R.FS, R.GS]);
        break;
      case K.cr_reg:
        reg(i, [R.CR0, R.CR2, R.CR3, R.CR4, R.CR8]);
        break;
      case K.dr_reg:
        reg(i, [R.DR0, R.DR6, R.DR7]);
        break;
      case K.es:
      case K.cs:
      case K.ss:
      case K.ds:
      case K.fs:
      case K.gs:
        ins.setOpKind(i, OpKind.Register);
        ins.setOpRegister(i, R[K[kd].toUpperCase()]);
        break;
      case K.al:
      case K.cl:
      case K.ax:
      case K.dx:
      case K.eax:
      case K.rax:
        ins.setOpKind(i, OpKind.Register);
        ins.setOpRegister(i, R[K[kd].toUpperCase()]);
        break;
      case K.st0:
        ins.setOpKind(i, OpKind.Register);
        ins.setOpRegister(i, R.ST0);
        break;
      case K.sti_opcode:
        reg(i, ST);
        break;
      case K.imm8: {
        const second = i > 0 && [K.imm8, K.imm16].includes(o.opKind(i - 1));
        ins.setOpKind(i, second ? OpKind.Immediate8_2nd : OpKind.Immediate8);
        let v = chance(0.5) ? rnd(256) : chance(0.5) ? rnd(66) : pick([0, 1, 7, 8, 15, 16, 31, 32, 33, 63, 64, 65, 127, 128, 255]);
        if (name.startsWith('Enter')) v = chance(0.6) ? rnd(4) : rnd(34);
        if (second) ins.immediate8_2nd = v;
        else ins.immediate8 = v;
        break;
      }
      case K.imm8_const_1:
        ins.setOpKind(i, OpKind.Immediate8);
        ins.immediate8 = 1;
        break;
      case K.imm8sex16:
        ins.setOpKind(i, OpKind.Immediate8to16);
        ins.immediate8to16 = (Number(immRand(8)) << 24) >> 24;
        break;
      case K.imm8sex32:
        ins.setOpKind(i, OpKind.Immediate8to32);
        ins.immediate8to32 = (Number(immRand(8)) << 24) >> 24;
        break;
      case K.imm8sex64:
        ins.setOpKind(i, OpKind.Immediate8to64);
        ins.immediate8to64 = BigInt((Number(immRand(8)) << 24) >> 24);
        break;
      case K.imm16:
        ins.setOpKind(i, OpKind.Immediate16);
        ins.immediate16 = /^(Enter|Ret)/.test(name) ? rnd(0x300) : Number(immRand(16));
        break;
      case K.imm32:
        ins.setOpKind(i, OpKind.Immediate32);
        ins.immediate32 = Number(immRand(32));
        break;
      case K.imm32sex64:
        ins.setOpKind(i, OpKind.Immediate32to64);
        ins.immediate32to64 = BigInt.asIntN(32, immRand(32));
        break;
      case K.imm64:
        ins.setOpKind(i, OpKind.Immediate64);
        ins.immediate64 = immRand(64);
        break;
      case K.br16_1:
        ins.setOpKind(i, OpKind.NearBranch16);
        ins.nearBranch16 = (rip + (BITS === 16 ? (chance(0.5) ? 16 + rnd(100) : -rnd(110) - 1) : rnd(200) - 100)) & 0xffff;
        break;
      case K.br16_2:
        ins.setOpKind(i, OpKind.NearBranch16);
        ins.nearBranch16 = BITS === 16 && chance(0.8) ? 0x20 + rnd(CODE_SIZE - 0x40) : rnd(0x10000);
        break;
      case K.br32_1:
        ins.setOpKind(i, OpKind.NearBranch32);
        ins.nearBranch32 = (rip + (chance(0.5) ? 16 + rnd(100) : -rnd(110) - 1)) >>> 0;
        break;
      case K.br32_4:
        ins.setOpKind(i, OpKind.NearBranch32);
        ins.nearBranch32 = chance(0.8) ? CODE_IP + 0x20 + rnd(CODE_SIZE - 0x40) : (rip + (u32() | 0)) >>> 0;
        break;
      case K.farbr2_2:
        ins.setOpKind(i, OpKind.FarBranch16);
        ins.farBranch16 = BITS === 16 ? 0x20 + rnd(CODE_SIZE - 0x40) : rnd(65536);
        ins.farBranchSelector = chance(0.9) ? Number(CSSEL) : rnd(4);
        break;
      case K.farbr4_2:
        ins.setOpKind(i, OpKind.FarBranch32);
        ins.farBranch32 = CODE_IP + 0x20 + rnd(CODE_SIZE - 0x40);
        ins.farBranchSelector = chance(0.9) ? Number(CSSEL) : rnd(4);
        break;
      case K.br64_1:
        ins.setOpKind(i, OpKind.NearBranch64);
        ins.nearBranch64 = BigInt(rip + (chance(0.5) ? 16 + rnd(100) : -rnd(110) - 1));
        break;
      case K.br64_4:
        ins.setOpKind(i, OpKind.NearBranch64);
        ins.nearBranch64 = BigInt(chance(0.8) ? CODE + 0x20 + rnd(CODE_SIZE - 0x40) : (rip + (u32() | 0)) >>> 0);
        break;
      case K.es_rDI:
        ins.setOpKind(i, strKind(OpKind.MemoryESRDI, OpKind.MemoryESEDI, OpKind.MemoryESDI));
        break;
      case K.seg_rSI:
        ins.setOpKind(i, strKind(OpKind.MemorySegRSI, OpKind.MemorySegESI, OpKind.MemorySegSI));
        if (BITS === 64 && chance(0.1)) ins.segmentPrefix = pick([R.FS, R.GS]);
        break;
      case K.seg_rDI:
        ins.setOpKind(i, strKind(OpKind.MemorySegRDI, OpKind.MemorySegEDI, OpKind.MemorySegDI));
        if (BITS === 64 && chance(0.1)) ins.segmentPrefix = pick([R.FS, R.GS]);
        break;
      case K.seg_rBX_al:
        ins.setOpKind(i, OpKind.Memory);
        ins.memoryBase = BITS === 64 ? (chance(0.1) ? R.EBX : R.RBX) : BITS === 32 ? R.EBX : chance(0.2) ? R.EBX : R.BX;
        ins.memoryIndex = R.AL;
        ins.memoryIndexScale = 1;
        if (BITS === 64 && chance(0.1)) ins.segmentPrefix = pick([R.FS, R.GS]);
        break;
      default:
        throw new Error(name + ' opkind ' + K[kd]);
    }
  }
  if (BITS === 16 && opn === 2) {
    const a = ins.opKind(0),
      b = ins.opKind(1);
    const m = new Map([
      [OpKind.MemoryESEDI, OpKind.MemoryESDI],
      [OpKind.MemorySegESI, OpKind.MemorySegSI],
      [OpKind.MemorySegEDI, OpKind.MemorySegDI],
    ]);
    if ((m.has(a) && [...m.values()].includes(b)) || (m.has(b) && [...m.values()].includes(a))) {
      if (m.has(a)) ins.setOpKind(0, m.get(a));
      if (m.has(b)) ins.setOpKind(1, m.get(b));
    }
  }
  // string operands must agree on the address size
  const sk = [];
  for (let i = 0; i < opn; i++) sk.push(ins.opKind(i));
  if (BITS === 64 && opn === 2 && sk.some((x) => x === OpKind.MemoryESEDI || x === OpKind.MemorySegESI || x === OpKind.MemorySegEDI))
    for (let i = 0; i < 2; i++) {
      if (sk[i] === OpKind.MemoryESRDI) ins.setOpKind(i, OpKind.MemoryESEDI);
      if (sk[i] === OpKind.MemorySegRSI) ins.setOpKind(i, OpKind.MemorySegESI);
      if (sk[i] === OpKind.MemorySegRDI) ins.setOpKind(i, OpKind.MemorySegEDI);
    }
  if (hasMem && o.canUseLockPrefix && chance(0.25)) ins.hasLockPrefix = true;
  if (info.group === 'string' && /^(Movs|Stos|Lods)/.test(name) && chance(0.6))
    ins[chance(0.85) ? 'hasRepPrefix' : 'hasRepnePrefix'] = true;
  if (info.group === 'string' && /^(Cmps|Scas)/.test(name) && chance(0.7)) ins[chance(0.5) ? 'hasRepPrefix' : 'hasRepnePrefix'] = true;
  if (hasMem) {
    used.push('m');
  }
  if (
    !parityOK(
      used
        .filter((x) => x !== 'm')
        .map(regName)
        .concat(hasMem && full.has(ins.memoryBase) ? ['b' + regName(ins.memoryBase)] : []),
      name,
    )
  ) {
    ins.free();
    return null;
  }
  let bytes;
  try {
    enc.encode(ins, BigInt(rip));
    bytes = enc.takeBuffer();
  } catch {
    enc.takeBuffer();
    ins.free();
    return null;
  }
  ins.free();
  bytes = [...bytes];
  // harmless or illegal extra prefixes
  if (chance(0.05) && bytes.length < 13) {
    const p = pick([0x2e, 0x3e, 0x26, 0x36, 0x66, 0xf2, 0xf3, 0x2e, 0x3e]);
    bytes.unshift(p);
  }
  if (chance(0.008) && bytes.length < 14) bytes.unshift(0xf0);
  let at = rip;
  if (chance(0.01)) at = CODE_IP + CODE_SIZE - 1 - rnd(bytes.length); // last bytes on a page that is not there, or ends exactly there
  return { bytes: Uint8Array.from(bytes), rip: at };
}

// ---------------------------------------------------------------- start state for a decoded instruction
const iif = new InstructionInfoFactory();
const dopt = DEC;
const setSub = (v, f, val) => {
  if (f.b === 64) return val & M64;
  if (f.b === 8 && f.hi) return (v & ~0xff00n & M64) | ((val & 0xffn) << 8n);
  const m = mask(f.b);
  return (v & ~m & M64) | (val & m);
};
const isR = (a) => a === OpAccess.Read || a === OpAccess.CondRead || a === OpAccess.ReadWrite || a === OpAccess.ReadCondWrite;
function prepare(info, ins, bytes, rip) {
  const { name, o, group } = info;
  const st = {
    rip,
    gpr: BASE_GPR.slice(),
    flags: 0x202,
    fsb: 0n,
    gsb: 0n,
    mxcsr: 0x1f80,
    fcw: 0x37f,
    fsw: 0,
    ftw: 0,
    st: new Array(8).fill(0n),
    xmm: BASE_XMM.slice(),
    mem: [],
  };
  const inf = iif.info(ins),
    regs = inf.usedRegisters(),
    mems = inf.usedMemory();
  const ms = o.memorySize;
  const fixed = new Set(); // GPRs that hold addresses
  const mnem = ins.mnemonic;
  const mn = Mnemonic[mnem];
  const X87 = info.f.startsWith('FPU') || (mn.startsWith('F') && group === 'approx');
  // flags
  if (chance(0.8)) for (const b of [0, 2, 4, 6, 7, 11]) if (rnd(2)) st.flags |= 1 << b;
  if (chance(group === 'string' ? 0.4 : 0.05)) st.flags |= 0x400;
  if (chance(0.015)) st.flags |= 1 << 18; // AC: alignment checking
  // value of read registers
  for (const u of regs) {
    if (!isR(u.access)) continue;
    const f = full.get(u.register);
    if (!f) continue;
    if (f.k === 'g' && f.i !== 4) {
      if (chance(f.b < 64 ? 0.5 : 0.9)) st.gpr[f.i] = gval();
      else st.gpr[f.i] = setSub(st.gpr[f.i], f, gval());
    }
    if (f.k === 'x') st.xmm[f.i] = vecval(ms, 16);
    if (f.k === 'm') st.st[f.i] = vecval(ms, 8) | (0xffffn << 64n);
  }
  // converting/shuffling ops: the element type of register sources does not always match memorySize
  if (group === 'sse-fp' && /^Cvt(si|pi|dq)/i.test(name))
    for (const u of regs) {
      const f = full.get(u.register);
      if (f?.k === 'g' && isR(u.access) && f.i !== 4) st.gpr[f.i] = gval();
    }
  if (/^(Psll|Psrl|Psra)/.test(name))
    for (let i = 1; i < ins.opCount; i++) {
      const f = ins.opKind(i) === OpKind.Register ? full.get(ins.opRegister(i)) : null;
      const v =
        BigInt(pick([0, 1, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 128, rnd(70)])) |
        (chance(0.1) ? 1n << 32n : 0n) |
        (chance(0.3) ? u64() << 64n : 0n);
      if (f?.k === 'x') st.xmm[f.i] = v & mask(128);
      if (f?.k === 'm') st.st[f.i] = (v & M64) | (0xffffn << 64n);
    }
  // equal / near operands
  if (
    /^(Cmp|Sub|Sbb|Xor|Cmpxchg|Pcmp|Ucomi|Comi|Cmpp|Cmps[sd]|Add)/.test(mn) &&
    ins.opCount >= 2 &&
    ins.opKind(0) === OpKind.Register &&
    ins.opKind(1) === OpKind.Register &&
    chance(0.2)
  ) {
    const a = full.get(ins.opRegister(0)),
      b = full.get(ins.opRegister(1));
    if (a && b && a.k === b.k) {
      if (a.k === 'g') st.gpr[b.i] = st.gpr[a.i];
      if (a.k === 'x') st.xmm[b.i] = st.xmm[a.i];
      if (a.k === 'm') st.st[b.i] = st.st[a.i];
    }
  }
  // RSP
  const usesStack = o.isStackInstruction || (/^(Push|Pop|Call|Ret|Enter|Leave|Iret)/.test(mn) && mn !== 'Popcnt');
  let rsp = 0x20002000;
  if (usesStack && chance(0.6)) {
    const q = rnd(20);
    rsp =
      q < 14
        ? DATA + 0x200 + (rnd(RW_SIZE - 0x600) & ~7)
        : q < 17
          ? DATA + 0x200 + rnd(RW_SIZE - 0x600)
          : q < 18
            ? DATA + rnd(20)
            : q < 19
              ? DATA + RW_SIZE - rnd(16)
              : DATA + DATA_SIZE - rnd(20);
    if (chance(0.02)) rsp = -1;
  }
  if (rsp === -1 && BITS !== 64) rsp = DATA + 1;
  st.gpr[4] = rsp === -1 ? 0x8000000000001000n + BigInt(rnd(4096)) : BigInt(EA(rsp));
  if (rsp !== 0x20002000) fixed.add(4);
  // shift counts, divisors, repeat counts and other special register roles (before addresses are solved, so addresses win)
  if (/^(Rol|Ror|Rcl|Rcr|Shl|Shr|Sar|Sal|Shld|Shrd)$/.test(mn)) {
    const last = ins.opCount - 1;
    if (ins.opKind(last) === OpKind.Register && ins.opRegister(last) === R.CL)
      st.gpr[1] =
        (st.gpr[1] & ~0xffn & M64) | BigInt(pick([0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, rnd(256), rnd(64), rnd(32)]));
  }
  if (/^(Loop|Jrcxz|Jecxz|Jcxz)/i.test(mn)) {
    const w = name.endsWith('_CX') || /Jcxz/.test(name) ? 16 : name.endsWith('_ECX') || /Jecxz/.test(name) ? 32 : 64;
    st.gpr[1] = setSub(chance(0.5) ? u64() : 0n, { b: w }, chance(0.7) ? BigInt(rnd(3)) : gval());
  }
  const rep = (ins.hasRepPrefix || ins.hasRepnePrefix || ins.hasRepePrefix) && ins.isStringInstruction;
  let cnt = 1,
    stra32 = false,
    stra16 = false;
  if (ins.isStringInstruction) {
    for (let i = 0; i < ins.opCount; i++)
      if ([OpKind.MemoryESEDI, OpKind.MemorySegESI, OpKind.MemorySegEDI].includes(ins.opKind(i))) stra32 = BITS === 64;
      else if ([OpKind.MemoryESDI, OpKind.MemorySegSI, OpKind.MemorySegDI].includes(ins.opKind(i))) stra16 = true;
  }
  if (rep) {
    cnt = chance(0.1) ? 0 : 1 + rnd(chance(0.8) ? 8 : 40);
    st.gpr[1] =
      BigInt(cnt) | (stra32 && chance(0.5) ? BigInt(u32()) << 32n : 0n) | (stra16 && chance(0.5) ? BigInt(rnd(65536)) << 16n : 0n);
  }
  // memory operands
  let segBase = 0n;
  const seg = ins.hasSegmentPrefix ? ins.segmentPrefix : R.None;
  if (seg === R.FS || seg === R.GS) {
    segBase = pick([0n, 0x1000n, 0x20000000n, BigInt(rnd(0x4000)), 0xffffffffff000000n & M64, 0x7fffff000000n]);
    if (segBase >= 0x800000000000n) segBase = (1n << 64n) - BigInt(rnd(0x100000));
  }
  const size = tmpAlign(ms) || 8;
  const noAccess = mn === 'Lea' || mn === 'Nop' || mn.startsWith('Prefetch');
  let opAddr = null;
  let impossible = false;
  for (let i = 0; i < ins.opCount; i++) {
    if (ins.opKind(i) !== OpKind.Memory) continue;
    const base = ins.memoryBase,
      idx = ins.memoryIndex,
      sc = BigInt(ins.memoryIndexScale),
      disp = ins.memoryDisplacement;
    const bf = full.get(base),
      xf = full.get(idx);
    const b32 =
      (bf && bf.b === 32) ||
      (xf && xf.b === 32 && xf.k === 'g') ||
      base === R.EIP ||
      (base === R.None && idx === R.None && ins.memoryDisplSize === 4 && bytes.includes(0x67));
    const b16 = (bf && bf.b === 16) || (base === R.None && idx === R.None && ins.memoryDisplSize === 2);
    const W = b16 ? 16 : b32 || BITS !== 64 ? 32 : 64;
    if (noAccess && chance(0.7)) {
      if (bf) st.gpr[bf.i] = gval();
      if (xf) st.gpr[xf.i] = gval();
      if (chance(0.5)) segBase = 0n;
      break;
    }
    let T = BigInt(mn === 'Clzero' ? randTarget(64) : randTarget(size));
    if (/^(Bt|Btc|Btr|Bts)$/.test(mn)) T = BigInt(DATA + 0x1800 + (rnd(0x800) & ~7));
    const nonc = BITS === 64 && !b32 && bf && chance(0.012);
    if (nonc) T = pick([0x0000800000000000n, 0xffff7fffffff0000n, 0x1234567800000000n, 0x8000000000000000n]) + BigInt(rnd(64));
    if (base === R.RIP || base === R.EIP || (base === R.None && idx === R.None)) {
      T = ins.memoryDisplacement + BigInt(DEA);
      if (seg === R.FS || seg === R.GS) {
        segBase = pick([0n, 0x40n, 0x100n]);
        T = (T + segBase) & M64;
      }
    } else if (idx === R.AL && BITS !== 64) {
      const v = (EA(T) - (st.gpr[0] & 0xffn)) & mask(W);
      st.gpr[3] = W === 16 ? setSub(st.gpr[3], { b: 16 }, v) : v;
      fixed.add(3);
    } else if (idx === R.AL) {
      st.gpr[3] = (T - (st.gpr[0] & 0xffn) - segBase) & M64;
      if (base === R.EBX) st.gpr[3] = (st.gpr[3] & 0xffffffffn) | (BigInt(u32()) << 32n);
      fixed.add(3);
      if (b32 && segBase) {
        segBase = 0n;
        st.gpr[3] = T - (st.gpr[0] & 0xffn);
      }
    } else {
      if (b32) {
        segBase = segBase < 0x10000n ? segBase : 0n;
      }
      const E = (EA(T) - segBase) & mask(W);
      if (bf && xf && bf.i === xf.i) {
        impossible = true;
        break;
      }
      if (bf) {
        let xv = 0n;
        if (xf) {
          const q = rnd(4);
          xv = q === 0 ? BigInt(rnd(256)) : q === 1 ? BigInt(-rnd(256)) & M64 : q === 2 ? u64() : BigInt(u32());
          if (xf.i === 4) xv = st.gpr[4];
          if (!fixed.has(xf.i)) st.gpr[xf.i] = xv;
          else xv = st.gpr[xf.i];
          fixed.add(xf.i);
        }
        let bv = (E - xv * (xf ? sc : 0n) - disp) & mask(W);
        if (W === 32 && BITS === 64) bv |= BigInt(chance(0.5) ? u32() : 0) << 32n;
        if (W === 16) bv |= BigInt(chance(0.7) ? rnd(65536) : 0) << 16n;
        st.gpr[bf.i] = bv;
        fixed.add(bf.i);
      } else if (xf) {
        let q = (E - disp) & mask(W);
        const rem = q % sc;
        if (rem) {
          T = (T - rem) & M64;
          q -= rem;
        }
        let xv = q / sc;
        if (W === 32 && BITS === 64) xv |= BigInt(chance(0.5) ? u32() : 0) << 32n;
        st.gpr[xf.i] = xv & (BITS === 64 ? M64 : 0xffffffffn);
        fixed.add(xf.i);
      }
    }
    opAddr = T;
    break;
  }
  if (impossible) return null;
  if (seg === R.FS) st.fsb = segBase;
  if (seg === R.GS) st.gsb = segBase;
  const putMem = (addr, count, val) => {
    const a = typeof addr === 'bigint' ? addr : BigInt(addr);
    if (a < BigInt(DATA) || a + BigInt(count) > BigInt(DATA + DATA_SIZE)) return;
    const off = Number(a) - DATA;
    const b = new Uint8Array(count);
    for (let i = 0; i < count; i++) {
      b[i] = Number(val & 0xffn);
      val >>= 8n;
    }
    st.mem.push({ off, b });
  };
  // string operands
  if ((ins.isStringInstruction && group === 'string') || (group === 'priv' && ins.isStringInstruction)) {
    const el = Math.max(1, size);
    const span = el * Math.max(1, cnt),
      df = st.flags & 0x400;
    const at = () => {
      let a = DATA + 0x400 + rnd(0x2800);
      if (chance(0.6)) a &= ~(el - 1);
      if (chance(0.04)) a = df ? DATA + rnd(span) : DATA + DATA_SIZE - rnd(span + 8);
      if (chance(0.03)) a = DATA + RW_SIZE - rnd(span);
      return a;
    };
    const si = at();
    const di = chance(0.15) ? si + (rnd(17) - 8) : at();
    const sb = segBase > 0x100000n ? 0n : segBase;
    if (seg === R.FS) st.fsb = sb;
    if (seg === R.GS) st.gsb = sb;
    const hi = () => (stra32 && chance(0.5) ? BigInt(u32()) << 32n : stra16 && chance(0.5) ? BigInt(rnd(65536)) << 16n : 0n);
    st.gpr[6] = ((BigInt(EA(si)) - sb) & M64) | hi();
    st.gpr[7] = BigInt(EA(di)) | hi();
    fixed.add(6);
    fixed.add(7);
    if (/^(Cmps|Scas)/.test(mn)) {
      const v = gval() & mask(el * 8);
      const n = Math.min(Math.max(cnt, 1), 40);
      const diff = chance(0.7) ? rnd(n + 1) : 99;
      const inv = chance(0.5);
      for (const [a, w] of mn.startsWith('Cmps')
        ? [
            [si, 0],
            [di, 1],
          ]
        : [[di, 1]]) {
        const lo = df ? a - el * (n - 1) : a;
        const b = new Uint8Array(n * el);
        for (let j = 0; j < n; j++) {
          let x = v;
          const pos = df ? n - 1 - j : j;
          const d = inv ? pos !== diff : pos === diff;
          if (w && d) x = (v + BigInt(1 + rnd(3))) & mask(el * 8);
          for (let q = 0; q < el; q++) b[j * el + q] = Number((x >> BigInt(8 * q)) & 0xffn);
        }
        if (lo >= DATA && lo + b.length <= DATA + DATA_SIZE) st.mem.push({ off: lo - DATA, b });
      }
      if (mn.startsWith('Scas')) st.gpr[0] = setSub(st.gpr[0], { b: el * 8 }, v);
    }
  }
  if (mn.startsWith('Maskmov')) {
    const a = DATA + 0x400 + rnd(0x2000);
    const sb = segBase > 0x100000n ? 0n : segBase;
    if (seg === R.FS) st.fsb = sb;
    if (seg === R.GS) st.gsb = sb;
    st.gpr[7] = (BigInt(EA(a)) - sb) & M64;
    for (let i = 0; i < ins.opCount; i++) if (ins.opKind(i) === OpKind.MemorySegEDI) st.gpr[7] = (BigInt(EA(a)) - sb) & 0xffffffffn;
    fixed.add(7);
  }
  if (mn === 'Clzero') {
    st.gpr[0] = BigInt(EA(randTarget(64)));
  }
  // contents of the memory operand
  const branchTarget = () => {
    const q = rnd(20);
    return q < 13 || BITS === 16
      ? BigInt(CODE_IP + 0x20 + rnd(CODE_SIZE - 0x40))
      : q < 15
        ? BigInt(DATA + rnd(0x1000))
        : q < 18
          ? BigInt(0x30000000 + rnd(0x10000))
          : pick([0x0000800000000000n, 0xffff000000000000n, 0x8000000000000000n]);
  };
  if (opAddr !== null && !noAccess) {
    let v;
    if (/^(Jmp|Call)$/.test(mn)) {
      v = branchTarget();
      if (/m16(16|32|64)/.test(name)) {
        const w = size - 2;
        v = BigInt(CODE_IP + 0x20 + rnd(CODE_SIZE - 0x40)) & mask(w * 8);
        v |= (chance(0.9) ? CSSEL : BigInt(rnd(4))) << BigInt(w * 8);
      }
      putMem(opAddr, size, v);
    } else if (/^(Fxrstor|Fldenv|Frstor)/.test(mn)) {
      /* below */
    } else if (/^(Fxsave|Fnsave|Fnstenv|Fstenv|Fsave)/.test(mn)) {
    } else if (/^(Btc?|Btr|Bts)$/.test(mn) && ins.opKind(1) === OpKind.Register) {
      const f = full.get(ins.opRegister(1));
      if (!fixed.has(f.i)) {
        const n = rnd(0x6000) - 0x3000;
        st.gpr[f.i] = setSub(chance(0.5) ? u64() : 0n, f, BigInt.asUintN(f.b, BigInt(chance(0.5) ? rnd(64) - 16 : n)));
      }
    } else if (size <= 16) {
      v = vecval(ms, size);
      if (/^(Psll|Psrl|Psra)/.test(mn))
        v = BigInt(pick([0, 1, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, rnd(70)])) | (chance(0.3) && size === 16 ? u64() << 64n : 0n);
      if (/^(Cmp|Sub|Sbb|Pcmp|Ucomi|Comi|Cmpxchg)/.test(mn) && ins.opCount >= 2 && chance(0.25)) {
        for (let i = 0; i < ins.opCount; i++)
          if (ins.opKind(i) === OpKind.Register) {
            const f = full.get(ins.opRegister(i));
            if (f?.k === 'g') v = (st.gpr[f.i] >> (f.hi ? 8n : 0n)) & mask(size * 8);
            if (f?.k === 'x') v = st.xmm[f.i] & mask(size * 8);
          }
      }
      putMem(opAddr, size, v);
    }
  }
  // register branch targets
  if (/^(Jmp|Call)$/.test(mn) && ins.opKind(0) === OpKind.Register) {
    const f = full.get(ins.opRegister(0));
    if (f.i !== 4 || chance(0.3)) st.gpr[f.i] = setSub(st.gpr[f.i], f, branchTarget());
    if (f.b === 16) st.gpr[f.i] = gval();
  }
  // stack contents
  if (usesStack && rsp !== -1) {
    const w16 = name.endsWith('w') || (/16/.test(name) && !/imm16/.test(name)) || /^(Retnw|Iretw|Retfw|Popw|Popfw|Popf?w)/.test(name);
    if (/^Ret$/.test(mn)) {
      const w = /w/.test(name);
      putMem(rsp, w ? 2 : 8, w && BITS !== 16 ? BigInt(rnd(65536)) : branchTarget() & mask(w ? 16 : BITS === 64 ? 64 : 32));
    } else if (/^Retf$/.test(mn)) {
      const w = /w/.test(name) ? 2 : /d/.test(name) ? 4 : 8;
      const n = mask(w * 8);
      let v = BigInt(CODE_IP + 0x20 + rnd(CODE_SIZE - 0x40)) & n;
      v |= (chance(0.85) ? CSSEL : BigInt(rnd(4))) << BigInt(w * 8);
      putMem(rsp, w * 2, v);
    } else if (mn.startsWith('Iret')) {
      const w = /w/.test(name) ? 2 : /d/.test(name) ? 4 : 8;
      const n = BigInt(w * 8),
        m = mask(w * 8);
      const fl = 2n | (u64() & 0x40cd5n) | (chance(0.2) ? 0x243000n & u64() : 0n) | (chance(0.5) ? 0x200n : 0n);
      const parts = [
        BigInt(CODE_IP + 0x20 + rnd(CODE_SIZE - 0x40)),
        chance(0.9) ? CSSEL : BigInt(rnd(4)),
        fl & ~(1n << 18n),
        BigInt(DATA + rnd(0x3000)),
        chance(0.95) ? 0x2bn : BigInt(rnd(4)),
      ];
      let v = 0n;
      parts.forEach((p, i) => (v |= (p & m) << (n * BigInt(i))));
      putMem(rsp, w * 5, v);
    } else if (mn.startsWith('Popf'))
      putMem(rsp, /w/.test(name) ? 2 : 8, (u64() & 0x244ed7n) | (chance(0.3) ? u64() & 0x3b3000n : 0n) | (chance(0.05) ? 1n << 18n : 0n));
    else if (/^Pop$/.test(mn)) putMem(rsp, size === 2 || w16 ? 2 : 8, gval());
    else if (mn === 'Leave' || mn === 'Enter') {
      const a = DATA + 0x800 + (chance(0.8) ? rnd(0x2000) & ~7 : rnd(0x2000));
      st.gpr[5] = BigInt(EA(chance(0.95) ? a : DATA + DATA_SIZE - rnd(12)));
      if (mn === 'Leave') putMem(a, 8, gval());
    }
  }
  // cmpxchg: accumulator equal to the destination half of the time
  if (/^Cmpxchg$/.test(mn) && chance(0.5)) {
    const f = ins.opKind(0) === OpKind.Register ? full.get(ins.opRegister(0)) : null;
    const b = f ? f.b : size * 8;
    let v = null;
    if (f) v = st.gpr[f.i] >> (f.hi ? 8n : 0n);
    else if (st.mem.length) {
      v = 0n;
      st.mem[0].b.forEach((x, i) => (v |= BigInt(x) << BigInt(8 * i)));
    }
    if (v !== null && !fixed.has(0)) st.gpr[0] = setSub(st.gpr[0], { b }, v);
  }
  if (/^Cmpxchg(8b|16b)$/i.test(mn) && chance(0.6) && st.mem.length) {
    const h = size / 2;
    let lo = 0n,
      hi = 0n;
    const b = st.mem[0].b;
    for (let i = 0; i < h; i++) {
      lo |= BigInt(b[i]) << BigInt(8 * i);
      hi |= BigInt(b[h + i]) << BigInt(8 * i);
    }
    if (!fixed.has(0)) st.gpr[0] = h === 4 ? (chance(0.3) ? BigInt(u32()) << 32n : 0n) | lo : lo;
    if (!fixed.has(2)) st.gpr[2] = hi;
  }
  // division: quotient in range most of the time
  if (/^(Div|Idiv)$/.test(mn)) {
    const f = ins.opKind(0) === OpKind.Register ? full.get(ins.opRegister(0)) : null;
    const b = f ? f.b : size * 8;
    let d;
    if (f) d = (st.gpr[f.i] >> (f.hi ? 8n : 0n)) & mask(b);
    else {
      d = 0n;
      (st.mem[0]?.b ?? []).forEach((x, i) => (d |= BigInt(x) << BigInt(8 * i)));
    }
    if (chance(0.8) && d !== 0n && !fixed.has(0) && !fixed.has(2)) {
      const sg = mn === 'Idiv';
      const D = sg ? BigInt.asIntN(b, d) : d;
      let q = gval() & mask(b);
      const r0 = u64() & mask(b);
      let N;
      if (sg) {
        q = BigInt.asIntN(b, q);
        N = D * q + (r0 % (D < 0n ? -D : D)) * (chance(0.5) ? 1n : -1n);
      } else N = D * q + (r0 % D);
      N = BigInt.asUintN(2 * b, N);
      const clash = f && (f.i === 0 || f.i === 2);
      if (!clash) {
        if (b === 8) st.gpr[0] = setSub(st.gpr[0], { b: 16 }, N);
        else {
          st.gpr[0] = setSub(st.gpr[0], { b }, N & mask(b));
          st.gpr[2] = setSub(st.gpr[2], { b }, N >> BigInt(b));
        }
      }
    }
  }
  if (/^(Wrfsbase|Wrgsbase)$/.test(mn)) {
    const f = full.get(ins.opRegister(0));
    st.gpr[f.i] = f.b === 32 ? gval() : chance(0.85) ? BigInt.asUintN(64, BigInt.asIntN(48, u64())) : u64();
  }
  if (/^(Rdfsbase|Rdgsbase)$/.test(mn)) {
    st.fsb = BigInt.asUintN(64, BigInt.asIntN(48, u64()));
    st.gsb = BigInt.asUintN(64, BigInt.asIntN(48, u64()));
  }
  // SSE control
  const sse = /^(SSE|SSSE|FXSR|AES|SHA|PCLMUL)/.test(info.f);
  if ((sse && (group === 'sse-fp' || group === 'approx' || group === 'mmx')) || /mxcsr/i.test(name)) {
    const q = rnd(10);
    if (q < 5) st.mxcsr = 0x1f80;
    else {
      st.mxcsr = 0x1f80 | (rnd(4) << 13);
      if (chance(0.25)) st.mxcsr |= 0x8000;
      if (chance(0.25)) st.mxcsr |= 0x40;
      if (chance(0.3)) st.mxcsr |= rnd(64);
      if (q === 9) st.mxcsr &= ~(rnd(64) << 7);
    }
  }
  if (mn.startsWith('Ldmxcsr') && opAddr !== null) {
    st.mem.pop();
    putMem(opAddr, 4, BigInt(chance(0.8) ? u32() & 0xffff : u32()));
  }
  // x87
  if (X87 || /^(Fxsave|Fxrstor)/.test(mn)) {
    if (chance(0.6)) st.fcw = 0x37f;
    else {
      st.fcw = 0x7f | (pick([0, 2, 3]) << 8) | (rnd(4) << 10) | (rnd(2) << 6);
      if (chance(0.25)) st.fcw &= ~rnd(64);
    }
    if (chance(0.5)) st.fcw = (st.fcw & ~0xc00) | (rnd(4) << 10);
    const top = rnd(8);
    let valid = chance(0.85) ? 2 + rnd(3) : rnd(9);
    if (/^(Fld|Fild|Fbld|Fxtract|Fptan|Fsincos)/.test(mn) && chance(0.85)) valid = Math.min(valid, 1 + rnd(6));
    const need = [];
    for (let i = 0; i < ins.opCount; i++)
      if (ins.opKind(i) === OpKind.Register) {
        const f = full.get(ins.opRegister(i));
        if (f?.k === 's') need.push(f.i);
      }
    if (chance(0.9)) for (const n of need) valid = Math.max(valid, n + 1);
    valid = Math.min(valid, 8);
    st.fsw = (top << 11) | (chance(0.5) ? (rnd(8) << 8) | (rnd(2) << 14) : 0) | (chance(0.12) ? rnd(64) : 0) | 0;
    if (st.fsw & ~st.fcw & 0x3f) st.fsw |= 0x8080;
    if (st.fsw & 0x40 && !(st.fsw & 1)) st.fsw &= ~0x40;
    if (st.fsw & ~st.fcw & 0x3f) st.fsw |= 0x8080;
    else st.fsw &= ~0x8080;
    const rel = new Set([0, 1, ...need]);
    for (let i = 0; i < valid; i++) {
      const p = (top + i) & 7;
      st.ftw |= 1 << p;
      st.st[p] = rel.has(i) || /^(Fxsave|Fnsave)/.test(mn) ? f80v() : 0x3fff8000000000000000n;
    }
    if (/^(Fscale|Fprem|Fprem1|Fyl2x|Fyl2xp1|Fpatan|F2xm1|Fsin|Fcos|Fptan|Fsincos|Frndint|Fxtract|Fsqrt)/.test(mn) && chance(0.6))
      for (const i of [0, 1]) {
        const p = (top + i) & 7;
        if (st.ftw & (1 << p)) {
          const e = 0x3fff + rnd(24) - 12;
          st.st[p] = u64() | E1 | (BigInt(e | (rnd(2) << 15)) << 64n);
        }
      }
    if (/^(Fcom|Fucom|Fcomi|Fucomi|Fsub|Fcompp|Fucompp|Fcomip|Fucomip|Fcomp|Fucomp)/.test(mn) && chance(0.25)) {
      const i = need.find((x) => x) ?? 1;
      if (i < valid) st.st[(top + i) & 7] = st.st[top];
    }
    if (opAddr !== null && /^(Fldenv|Frstor)/.test(mn)) {
      st.mem = st.mem.filter(() => false);
      const sz = size;
      const w = sz === 14 || sz === 94 ? 2 : 4;
      let v = 0n;
      const put = (i, x) => (v |= (BigInt(x) & mask(w * 8)) << BigInt(8 * w * i));
      const cw = chance(0.7) ? 0x37f : 0x7f | (rnd(16) << 8);
      let sw = (rnd(8) << 11) | (rnd(8) << 8);
      if (chance(0.2)) sw |= rnd(64);
      if (sw & ~cw & 0x3f) sw |= 0x8080;
      put(0, cw);
      put(1, sw);
      put(2, chance(0.5) ? 0xffff : rnd(65536));
      const env = w * 7;
      if (sz > env) {
        for (let i = 0; i < 8; i++) v |= f80v() << BigInt(8 * (env + 10 * i));
      }
      putMem(opAddr, sz, v);
    }
    if (opAddr !== null && mn.startsWith('Fxrstor')) {
      st.mem = [];
      const a = opAddr & ~15n;
      let v = 0n;
      const cw = 0x37f,
        sw = rnd(8) << 11;
      v |= BigInt(cw) | (BigInt(sw) << 16n) | (BigInt(rnd(256)) << 32n) | (BigInt(chance(0.9) ? u32() & 0xffff : u32()) << 192n);
      for (let i = 0; i < 8; i++) v |= f80v() << BigInt(8 * (32 + 16 * i));
      for (let i = 0; i < 16; i++) v |= ((u64() << 64n) | u64()) << BigInt(8 * (160 + 16 * i));
      putMem(chance(0.97) ? a : a, 512, v);
    }
  }
  if (group === 'mmx' && chance(0.3)) {
    st.fsw = rnd(8) << 11;
    st.ftw = rnd(256);
  }
  // FXSAVE-like operands must mostly be aligned: target chosen aligned already (size>16)
  if (BITS !== 64) {
    for (let i = 0; i < 16; i++) st.gpr[i] = i < 8 ? st.gpr[i] & 0xffffffffn : 0n;
  }
  if (name.startsWith('Bound') && st.mem.length && chance(0.7)) {
    const f = full.get(ins.opRegister(0)),
      b = f.b,
      m = st.mem[0].b;
    let lo = gval() & mask(b),
      hi = gval() & mask(b);
    if (BigInt.asIntN(b, lo) > BigInt.asIntN(b, hi)) [lo, hi] = [hi, lo];
    for (let i = 0; i < b / 8; i++) {
      m[i] = Number((lo >> BigInt(8 * i)) & 255n);
      m[b / 8 + i] = Number((hi >> BigInt(8 * i)) & 255n);
    }
  }
  for (const u of regs) u.free();
  for (const u of mems) u.free();
  inf.free();
  // memory overrides must not overlap in a contradictory way: later ones win, apply in order
  return st;
}

// ---------------------------------------------------------------- undefined flags
function undefFlags(info, ins, st) {
  const mn = Mnemonic[ins.mnemonic];
  const IB = I.RflagsBits;
  const cv = (b) =>
    (b & IB.OF ? 0x800 : 0) |
    (b & IB.SF ? 0x80 : 0) |
    (b & IB.ZF ? 0x40 : 0) |
    (b & IB.AF ? 0x10 : 0) |
    (b & IB.CF ? 1 : 0) |
    (b & IB.PF ? 4 : 0);
  let u = cv(ins.rflagsUndefined);
  let drop = false;
  if (/^(Rol|Ror|Rcl|Rcr|Shl|Shr|Sar|Sal|Shld|Shrd)$/.test(mn)) {
    const last = ins.opCount - 1;
    const op0 = ins.opKind(0) === OpKind.Register ? full.get(ins.opRegister(0)).b : MemorySizeExt.size(ins.memorySize) * 8;
    let c = ins.opKind(last) === OpKind.Register ? Number(st.gpr[1] & 0xffn) : Number(ins.immediate(last) & 0xffn);
    c &= op0 === 64 ? 63 : 31;
    const sh = /^(Shl|Shr|Sar|Sal)$/.test(mn);
    u = 0;
    if (c !== 0) {
      if (sh || mn === 'Shld' || mn === 'Shrd') u |= 0x10;
      if (c !== 1) u |= 0x800;
      if (/^(Shl|Shr|Sal)$/.test(mn) && c >= op0) u |= 1;
      if ((mn === 'Shld' || mn === 'Shrd') && c > op0) drop = true;
    }
  }
  return { u, drop };
}

// ---------------------------------------------------------------- harness I/O
const CASE = 24 + 560,
  RES = 16 + 560;
function writeState(dv, p, s) {
  dv.setBigUint64(p, BigInt(s.rip), true);
  dv.setBigUint64(p + 8, BigInt(s.flags), true);
  for (let i = 0; i < 16; i++) dv.setBigUint64(p + 16 + 8 * i, s.gpr[i], true);
  dv.setBigUint64(p + 144, s.fsb, true);
  dv.setBigUint64(p + 152, s.gsb, true);
  dv.setUint32(p + 160, s.mxcsr, true);
  dv.setUint16(p + 164, s.fcw, true);
  dv.setUint16(p + 166, s.fsw, true);
  dv.setUint8(p + 168, s.ftw);
  for (let i = 0; i < 8; i++) {
    dv.setBigUint64(p + 176 + 16 * i, s.st[i] & M64, true);
    dv.setUint16(p + 184 + 16 * i, Number(s.st[i] >> 64n) & 0xffff, true);
  }
  for (let i = 0; i < 16; i++) {
    dv.setBigUint64(p + 304 + 16 * i, s.xmm[i] & M64, true);
    dv.setBigUint64(p + 312 + 16 * i, s.xmm[i] >> 64n, true);
  }
}
let lastOut = null,
  lastPos = null;
function runBatch(cases) {
  let tot = 8;
  for (const c of cases) {
    tot += CASE;
    for (const m of c.st.mem) tot += 8 + ((m.b.length + 7) & ~7);
  }
  const buf = Buffer.alloc(tot),
    dv = new DataView(buf.buffer, buf.byteOffset, tot);
  dv.setBigUint64(0, BigInt(cases.length), true);
  let p = 8;
  for (const c of cases) {
    buf.set(c.bytes, p);
    dv.setUint8(p + 16, c.bytes.length);
    dv.setUint8(p + 17, MODE);
    dv.setUint16(p + 18, c.st.mem.length, true);
    writeState(dv, p + 24, c.st);
    p += CASE;
    for (const m of c.st.mem) {
      dv.setUint32(p, m.off, true);
      dv.setUint32(p + 4, m.b.length, true);
      buf.set(m.b, p + 8);
      p += 8 + ((m.b.length + 7) & ~7);
    }
  }
  const fi = TMP + '/in-' + CORPUS + BITS + '.bin',
    fo = TMP + '/out-' + CORPUS + BITS + '.bin';
  fs.writeFileSync(fi, buf);
  const r = spawnSync(HARNESS, [fi, fo], { encoding: 'utf8' });
  if (r.status !== 0) throw new Error('harness ' + r.status + ' ' + r.signal + r.stderr);
  const ob = fs.readFileSync(fo),
    od = new DataView(ob.buffer, ob.byteOffset, ob.length);
  p = 0;
  const out = [];
  lastOut = ob;
  lastPos = [];
  for (let k = 0; k < cases.length; k++) {
    lastPos.push(p);
    const nm = od.getUint16(p + 2, true);
    const res = { status: ob[p], sig: ob[p + 1], err: od.getUint32(p + 4, true), cr2: od.getBigUint64(p + 8, true), sp: p + 16, mem: [] };
    let q = p + RES;
    for (let i = 0; i < nm; i++) {
      const off = od.getUint32(q, true),
        len = od.getUint32(q + 4, true);
      res.mem.push({ off, b: ob.subarray(q + 8, q + 8 + len) });
      q += 8 + ((len + 7) & ~7);
    }
    const s = res.sp;
    res.s = {
      rip: od.getBigUint64(s, true),
      flags: od.getUint32(s + 8, true),
      gpr: Array.from({ length: 16 }, (_, i) => od.getBigUint64(s + 16 + 8 * i, true)),
      fsb: od.getBigUint64(s + 144, true),
      gsb: od.getBigUint64(s + 152, true),
      mxcsr: od.getUint32(s + 160, true),
      fcw: od.getUint16(s + 164, true),
      fsw: od.getUint16(s + 166, true),
      ftw: ob[s + 168],
      st: Array.from(
        { length: 8 },
        (_, i) => od.getBigUint64(s + 176 + 16 * i, true) | (BigInt(od.getUint16(s + 184 + 16 * i, true)) << 64n),
      ),
      xmm: Array.from({ length: 16 }, (_, i) => od.getBigUint64(s + 304 + 16 * i, true) | (od.getBigUint64(s + 312 + 16 * i, true) << 64n)),
    };
    out.push(res);
    p = q;
  }
  lastPos.push(p);
  return out;
}

// ---------------------------------------------------------------- vector encoding
class W {
  constructor() {
    this.b = Buffer.alloc(1 << 16);
    this.n = 0;
  }
  need(k) {
    if (this.n + k > this.b.length) {
      const nb = Buffer.alloc(Math.max(this.b.length * 2, this.n + k));
      this.b.copy(nb);
      this.b = nb;
    }
  }
  u8(v) {
    this.need(1);
    this.b[this.n++] = v;
  }
  u16(v) {
    this.u8(v & 255);
    this.u8((v >> 8) & 255);
  }
  u32(v) {
    this.u16(v & 0xffff);
    this.u16(v >>> 16);
  }
  big(v, n) {
    this.need(n);
    for (let i = 0; i < n; i++) {
      this.b[this.n++] = Number(v & 0xffn);
      v >>= 8n;
    }
  }
  bytes(a) {
    this.need(a.length);
    this.b.set(a, this.n);
    this.n += a.length;
  }
  out() {
    return this.b.subarray(0, this.n);
  }
}
function diffSlots(w, a, b, skipRip) {
  const l = [];
  for (let i = 0; i < 16; i++) if (a.gpr[i] !== b.gpr[i]) l.push([i, b.gpr[i], 8]);
  if (!skipRip) l.push([16, BigInt(b.rip), 8]);
  if (a.flags !== b.flags) l.push([17, BigInt(b.flags), 4]);
  if (a.fsb !== b.fsb) l.push([18, b.fsb, 8]);
  if (a.gsb !== b.gsb) l.push([19, b.gsb, 8]);
  if (a.mxcsr !== b.mxcsr) l.push([20, BigInt(b.mxcsr), 4]);
  if (a.fcw !== b.fcw) l.push([21, BigInt(b.fcw), 2]);
  if (a.fsw !== b.fsw) l.push([22, BigInt(b.fsw), 2]);
  if (a.ftw !== b.ftw) l.push([23, BigInt(b.ftw), 1]);
  if (b.cr2 !== undefined) l.push([24, b.cr2, 8]);
  for (let i = 0; i < 16; i++) if (a.xmm[i] !== b.xmm[i]) l.push([32 + i, b.xmm[i], 16]);
  for (let i = 0; i < 8; i++) if (a.st[i] !== b.st[i]) l.push([48 + i, b.st[i], 10]);
  w.u8(l.length);
  for (const [s, v, n] of l) {
    w.u8(s);
    w.big(v, n);
  }
}
const BASE = {
  rip: RIP0,
  gpr: BASE_GPR,
  flags: 0x202,
  fsb: 0n,
  gsb: 0n,
  mxcsr: 0x1f80,
  fcw: 0x37f,
  fsw: 0,
  ftw: 0,
  st: new Array(8).fill(0n),
  xmm: BASE_XMM,
};
function emit(w, c, r) {
  w.u8(c.bytes.length);
  w.bytes(c.bytes);
  diffSlots(w, BASE, c.st, c.st.rip === RIP0);
  w.u8(c.st.mem.length);
  for (const m of c.st.mem) {
    w.u16(m.off);
    w.u16(m.b.length);
    w.bytes(m.b);
  }
  w.u8(r.status);
  w.u16(r.status === 0xff ? c.undef : r.err & 0xffff);
  const s = r.s;
  if (r.status === 14) s.cr2 = r.cr2;
  const dflt = BigInt(r.status === 0xff ? c.st.rip + c.bytes.length : c.st.rip);
  diffSlots(w, c.st, s, s.rip === dflt);
  w.u8(r.mem.length);
  for (const m of r.mem) {
    w.u16(m.off);
    w.u16(m.b.length);
    w.bytes(m.b);
  }
}

// ---------------------------------------------------------------- main loop
const WEIGHT = {
  alu: 110,
  shift: 130,
  muldiv: 150,
  bits: 130,
  move: 80,
  string: 170,
  control: 80,
  stack: 100,
  x87: 200,
  'sse-fp': 190,
  'sse-int': 110,
  mmx: 80,
  crypto: 160,
  approx: 90,
  priv: 8,
};
function make(info, n) {
  const list = [];
  let tries = 0;
  while (list.length < n && tries++ < n * 12) {
    const b = build(info);
    if (!b) continue;
    const dec = new Decoder(BITS, b.bytes, dopt);
    dec.ip = BigInt(b.rip);
    const ins = dec.decode();
    dec.free();
    if (ins.code !== info.c || ins.length !== b.bytes.length) {
      // an extra prefix changed the meaning, or made it invalid (LOCK): keep only #UD expectations
      if (!(ins.isInvalid && b.bytes[0] === 0xf0)) {
        ins.free();
        continue;
      }
      const st = {
        rip: b.rip,
        gpr: BASE_GPR.slice(),
        flags: 0x202,
        fsb: 0n,
        gsb: 0n,
        mxcsr: 0x1f80,
        fcw: 0x37f,
        fsw: 0,
        ftw: 0,
        st: new Array(8).fill(0n),
        xmm: BASE_XMM.slice(),
        mem: [],
      };
      list.push({ bytes: b.bytes, st, undef: 0 });
      ins.free();
      continue;
    }
    const st = prepare(info, ins, b.bytes, b.rip);
    if (!st) {
      ins.free();
      continue;
    }
    const { u, drop } = undefFlags(info, ins, st);
    ins.free();
    if (drop) continue;
    list.push({ bytes: b.bytes, st, undef: u });
  }
  return list;
}
// random byte strings that decode to one of our Codes: encodings the encoder never makes
function fuzz(n) {
  const byCode = new Map();
  let got = 0;
  let tries = 0;
  while (got < n && tries++ < n * 200) {
    const bytes = [];
    const np = chance(0.5) ? 0 : rnd(4);
    for (let i = 0; i < np; i++) bytes.push(pick([0x66, 0xf2, 0xf3, 0x2e, 0x3e, 0x26, 0x36, 0x64, 0x65, 0x67, 0x66]));
    if (BITS === 64 && chance(0.6)) bytes.push(0x40 + rnd(16));
    const m = rnd(10);
    if (m < 5) bytes.push(rnd(256));
    else if (m < 9) bytes.push(0x0f, rnd(256));
    else bytes.push(0x0f, pick([0x38, 0x3a]), rnd(256));
    for (let i = 0; i < 10; i++) bytes.push(rnd(256));
    const arr = Uint8Array.from(bytes.slice(0, 15));
    const dec = new Decoder(BITS, arr, dopt);
    dec.ip = BigInt(RIP0);
    const ins = dec.decode();
    dec.free();
    const info = ins.isInvalid ? null : codeByVal.get(ins.code);
    if (
      !info ||
      (info.group === 'priv' && !chance(0.05)) ||
      (/^(Jmp|J|Call|Loop|X?begin)/.test(info.name) && ins.flowControl !== I.FlowControl.Next && /rel|ptr/.test(info.name)) ||
      (BITS !== 64 && ins.hasSegmentPrefix && [R.FS, R.GS].includes(ins.segmentPrefix)) ||
      (BITS === 16 && ins.hasSegmentPrefix && ins.segmentPrefix === R.CS)
    ) {
      ins.free();
      continue;
    }
    const bb = arr.slice(0, ins.length);
    let st = null;
    try {
      st = prepare(info, ins, bb, RIP0);
    } catch {}
    if (!st) {
      ins.free();
      continue;
    }
    const { u, drop } = undefFlags(info, ins, st);
    ins.free();
    if (drop) continue;
    if (!byCode.has(info)) byCode.set(info, []);
    const l = byCode.get(info);
    if (l.length > Math.max(12, n / 400)) continue;
    l.push({ bytes: bb, st, undef: u });
    got++;
  }
  return byCode;
}
function invalids() {
  const list = [];
  const mk = (a) => {
    const arr = Uint8Array.from(a.concat([0x05, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]).slice(0, 15));
    const dec = new Decoder(BITS, arr, dopt);
    const ins = dec.decode();
    const inv = ins.isInvalid;
    ins.free();
    dec.free();
    if (inv)
      list.push({
        bytes: arr.slice(0, Math.min(15, a.length + 1)),
        st: { ...BASE, gpr: BASE_GPR.slice(), xmm: BASE_XMM.slice(), st: new Array(8).fill(0n), mem: [] },
        undef: 0,
      });
  };
  for (let i = 0; i < 256; i++) {
    if (
      [0xc4, 0xc5, 0x62, 0x8f].includes(i) ||
      (BITS === 64 && i >= 0x40 && i < 0x50) ||
      [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x64, 0x65, 0x2e, 0x3e, 0x26, 0x36, 0x0f].includes(i)
    )
      continue;
    for (const mr of [0xc0, 0xc8, 0xd0, 0xd8, 0xe0, 0xe8, 0xf0, 0xf8, 0x05]) mk([i, mr]);
  }
  const skip0f = new Set([0x01, 0x05, 0x07, 0x34, 0x35, 0x37, 0x0f, 0x36, 0xa6, 0xa7, 0x24, 0x26, 0x25, 0x27]);
  for (let i = 0; i < 256; i++) {
    if (skip0f.has(i) || i === 0x38 || i === 0x3a) continue;
    for (const pf of [[], [0x66], [0xf3], [0xf2]])
      for (const mr of [0xc1, 0xc8, 0xd3, 0xd8, 0xe4, 0xe8, 0xf6, 0xff]) mk([...pf, 0x0f, i, mr]);
  }
  for (const m of [0x38, 0x3a]) for (let i = 0; i < 256; i++) for (const pf of [[], [0x66], [0xf3], [0xf2]]) mk([...pf, 0x0f, m, i, 0xc1]);
  return list;
}

const groups = new Map();
let total = 0,
  lost = 0;
const stats = {};
const t0 = Date.now();
const DEBUG = [];
function addSection(group, name, flags, cases) {
  if (!cases.length) return;
  const res = runBatch(cases);
  const r1 = lastOut,
    pos = lastPos;
  runBatch(cases);
  const same = (i) => r1.subarray(pos[i], pos[i + 1]).equals(lastOut.subarray(lastPos[i], lastPos[i + 1]));
  const w = new W();
  let n = 0;
  const seen = new Set();
  const h = {};
  for (let i = 0; i < cases.length; i++) {
    if (res[i].status === 0xfe) {
      lost++;
      DEBUG.push('hang ' + name + ' ' + Buffer.from(cases[i].bytes).toString('hex'));
      continue;
    }
    if (name === 'INVALID' && res[i].status !== 6) {
      DEBUG.push('not #UD natively: ' + Buffer.from(cases[i].bytes).toString('hex') + ' -> ' + res[i].status);
      continue;
    }
    if (!same(i)) {
      DEBUG.push('not reproducible: ' + name + ' ' + Buffer.from(cases[i].bytes).toString('hex'));
      continue;
    }
    if (res[i].mem.length > 200) continue;
    if ((res[i].status === 14 && res[i].cr2 >= 0x800000000000n) || (res[i].status === 13 && res[i].err !== 0))
      continue; /* depends on the recording kernel's mappings, GDT or LDT */
    const w0 = w.n;
    emit(w, cases[i], res[i]);
    const key = w.b.toString('latin1', w0, w.n);
    if (seen.has(key)) {
      w.n = w0;
      continue;
    }
    seen.add(key);
    n++;
    h[res[i].status] = (h[res[i].status] || 0) + 1;
  }
  if (!n) return;
  if (!groups.has(group)) groups.set(group, []);
  groups.get(group).push({ name, flags, n, data: Buffer.from(w.out()) });
  total += n;
  stats[group + '/' + name] = h;
}
const re = ONLY ? new RegExp(ONLY) : null;
let done = 0;
for (const info of codes) {
  if (re && !re.test(info.name)) continue;
  reseed(SEED + ':' + info.name);
  const noOps = info.o.opCount === 0;
  let n = Math.round(WEIGHT[info.group] * SCALE);
  if (noOps && !['x87', 'approx', 'string', 'stack', 'control'].includes(info.group)) n = Math.min(n, 24);
  let cs;
  try {
    cs = make(info, n);
  } catch (e) {
    console.error('GEN', info.name, e.stack?.split('\n').slice(0, 3).join(' '));
    continue;
  }
  if (!cs.length) {
    DEBUG.push('no case: ' + info.name);
    continue;
  }
  addSection(info.group, info.name, (info.group === 'approx' ? 1 : 0) | (MODE << 4), cs);
  if (++done % 200 === 0) console.error(done, total, ((Date.now() - t0) / 1000).toFixed(0) + 's');
}
if (!re) {
  reseed(SEED + ':fuzz');
  const fz = fuzz(Math.round(20000 * SCALE));
  for (const [info, cs] of [...fz].sort((a, b) => a[0].c - b[0].c))
    addSection(
      info.group === 'approx' ? 'approx' : 'fuzz',
      info.name + (info.group === 'approx' ? '#fuzz' : ''),
      (info.group === 'approx' ? 1 : 0) | (MODE << 4),
      cs,
    );
  if (CORPUS === 'public') addSection('invalid', 'INVALID', MODE << 4, invalids());
}
const manifest = {
  format: 'x86vec1',
  bits: BITS,
  corpus: CORPUS,
  cpu:
    /model name\s*: (.*)/.exec(fs.readFileSync('/proc/cpuinfo', 'utf8'))[1] +
    ' family ' +
    /cpu family\s*: (.*)/.exec(fs.readFileSync('/proc/cpuinfo', 'utf8'))[1] +
    ' model ' +
    /model\s*: (.*)/.exec(fs.readFileSync('/proc/cpuinfo', 'utf8'))[1],
  decoder: 'iced-x86 1.21.0, DecoderOptions.AMD',
  total,
  codes: done,
  files: {},
};
for (const [g, secs] of groups) {
  const w = new W();
  w.bytes(Buffer.from('X86VEC1\n'));
  w.u32(secs.length);
  for (const s of secs) {
    w.u8(s.name.length);
    w.bytes(Buffer.from(s.name));
    w.u8(s.flags);
    w.u32(s.n);
    w.u32(s.data.length);
    w.bytes(s.data);
  }
  const raw = w.out();
  const gz = zlib.gzipSync(raw, { level: 9 });
  fs.writeFileSync(path.join(OUT, PREFIX + g + '.x86vec.gz'), gz);
  manifest.files[PREFIX + g + '.x86vec.gz'] = {
    sections: secs.length,
    cases: secs.reduce((a, s) => a + s.n, 0),
    rawBytes: raw.length,
    gzBytes: gz.length,
  };
}
fs.writeFileSync(path.join(OUT, PREFIX + 'manifest.json'), JSON.stringify(manifest, null, 1));
fs.writeFileSync(TMP + '/stats-' + PREFIX + CORPUS + '.json', JSON.stringify(stats, null, 0).replace(/},/g, '},\n'));
fs.writeFileSync(TMP + '/debug-' + PREFIX + CORPUS + '.txt', DEBUG.join('\n'));
console.log(JSON.stringify(manifest, null, 1));
console.log('lost', lost, 'seconds', (Date.now() - t0) / 1000, 'debug lines', DEBUG.length);
