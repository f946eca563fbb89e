// The same source through GNU as, where it is installed, must mean the same instructions. Skipped by name elsewhere.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { assemble } from '../../src/asm/assemble.ts';
import { all } from './disassemble.ts';

const hasGnuAs = ['as', 'objcopy'].every((tool) => spawnSync(tool, ['--version']).status === 0) && process.arch === 'x64';

const registers = ['al', 'r9b', 'cx', 'r10w', 'edx', 'r11d', 'rsi', 'r12'];
const sizes = ['byte ptr', 'byte ptr', 'word ptr', 'word ptr', 'dword ptr', 'dword ptr', 'qword ptr', 'qword ptr'];
const addresses = ['[rax]', '[rbp]', '[r13+8]', '[rsp-8]', '[rbx+rcx*4+0x1000]', '[r12+r9*8]', '[rip+0x40]', 'fs:[0x30]', '[eax+edx*2]'];

// biome-ignore format: a list of lines
const source = [
  ...['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp', 'mov', 'test', 'xadd', 'cmpxchg'].flatMap((mnemonic) => [
    ...registers.map((register) => `${mnemonic} ${register}, ${register}`),
    ...registers.map((register, n) => `${mnemonic} ${addresses[n % addresses.length]}, ${register}`),
  ]),
  ...['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp', 'mov', 'test'].flatMap((mnemonic) => [
    ...registers.map((register) => `${mnemonic} ${register}, 0x12`),
    ...registers.slice(4).map((register) => `${mnemonic} ${register}, 0x12345678`),
    ...sizes.map((size, n) => `${mnemonic} ${size} ${addresses[(n + 3) % addresses.length]}, -3`),
  ]),
  ...['rol', 'ror', 'rcl', 'rcr', 'shl', 'shr', 'sar'].flatMap((mnemonic) => registers.flatMap((register) => [`${mnemonic} ${register}, 1`, `${mnemonic} ${register}, 5`, `${mnemonic} ${register}, cl`])),
  ...['not', 'neg', 'mul', 'imul', 'div', 'idiv', 'inc', 'dec'].flatMap((mnemonic) => [...registers.map((register) => `${mnemonic} ${register}`), ...sizes.map((size, n) => `${mnemonic} ${size} ${addresses[n]}`)]),
  ...['bsf', 'bsr', 'popcnt', 'lzcnt', 'tzcnt', 'imul', 'cmovz', 'cmovg', 'bt', 'bts', 'btr', 'btc'].flatMap((mnemonic) => registers.slice(2).map((register) => `${mnemonic} ${register}, ${register}`)),
  ...addresses.flatMap((address) => [`lea rdi, ${address}`, `movzx eax, byte ptr ${address}`, `movsx r8, word ptr ${address}`, `movsxd rax, dword ptr ${address}`, `push qword ptr ${address}`, `pop qword ptr ${address}`, `jmp qword ptr ${address}`, `call qword ptr ${address}`]),
  'shld eax, ebx, 5', 'shrd r8, r9, cl', 'imul eax, ebx, 1000', 'imul r8, r9, 10', 'bswap r10', 'xchg rbx, rcx', 'cwde', 'cdqe', 'cqo', 'cdq',
  'rep movsb', 'rep stosq', 'repne scasb', 'repe cmpsw', 'lodsd', 'xlatb', 'enter 32, 0', 'leave', 'ret', 'ret 16', 'int3', 'int 0x80', 'iretq', 'syscall', 'sysretq',
  'hlt', 'cli', 'sti', 'cld', 'std', 'clc', 'stc', 'cmc', 'lahf', 'sahf', 'pushfq', 'popfq', 'cpuid', 'rdtsc', 'rdtscp', 'rdmsr', 'wrmsr', 'wbinvd', 'invd', 'ud2',
  'in al, dx', 'in eax, 0x60', 'out dx, ax', 'out 0x80, al', 'insb', 'rep outsd', 'mov cr0, rax', 'mov rbx, cr2', 'mov cr8, r9', 'mov dr7, rcx', 'mov rdx, dr6',
  'mov ds, eax', 'mov eax, ss', 'mov fs, word ptr [rax]', 'push fs', 'pop gs', 'lgdt [rax]', 'lidt [rsp+8]', 'sgdt [rax]', 'sidt [rax]', 'ltr ax', 'lldt cx', 'str eax', 'sldt eax',
  'invlpg [rax]', 'swapgs', 'monitor', 'mwait', 'vmrun', 'vmmcall', 'vmload', 'vmsave', 'stgi', 'clgi', 'invlpga', 'clflush [rax]', 'mfence', 'lfence', 'sfence', 'pause',
  'rdfsbase rax', 'wrgsbase r9', 'cmpxchg8b [rax]', 'lock cmpxchg16b [rax]', 'lock add dword ptr [rax], 1', 'jrcxz .', 'setne al', 'setg byte ptr [rax]', 'movbe eax, [rbx]',
  'andn eax, ebx, ecx', 'bextr rax, rbx, rcx', 'pdep r8, r9, r10', 'adcx eax, ebx', 'crc32 eax, byte ptr [rbx]', 'fld qword ptr [rax]', 'fstp tbyte ptr [rax]', 'faddp', 'fnstcw [rax]',
  'movaps xmm1, xmm2', 'movdqu xmm9, [rax]', 'pxor xmm3, xmm3', 'cvtsi2sd xmm0, rax', 'pshufd xmm1, xmm2, 0x1b', 'vaddps ymm1, ymm2, [rax]', 'ldmxcsr [rax]', 'fxsave [rax]',
];

test.skipIf(!hasGnuAs)('GNU as assembles the same source to the same instructions (skipped where as or objcopy is missing)', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cbit-asm-'));
  try {
    const [input, object, flat] = ['a.s', 'a.o', 'a.bin'].map((name) => join(folder, name)) as [string, string, string];
    writeFileSync(input, `.intel_syntax noprefix\n${source.join('\n')}\n`);
    execFileSync('as', ['--64', '-o', object, input], { stdio: 'pipe' });
    execFileSync('objcopy', ['-O', 'binary', '-j', '.text', object, flat]);
    const theirs = all(readFileSync(flat), 64, 0n);
    // `.` is $ in GNU as.
    const ours = assemble(source.join('\n').replaceAll('jrcxz .', 'jrcxz $'));
    expect(all(ours.bytes, 64, 0n).length).toBe(source.length);
    expect(all(ours.bytes, 64, 0n).map(withoutAddress)).toEqual(theirs.map(withoutAddress));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** The two may choose encodings of different length, so addresses that depend on the place are left out. */
const withoutAddress = (text: string): string => text.replace(/\[rel \w+\]/, '[rel]').replace(/\b[0-9A-F]{16}h\b/, 'target');
