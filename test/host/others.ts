// Neighbours of every kind, well behaved and not, and two that look closely: at the time-stamp counter and at RDRAND.

import { ExitCode } from '../../src/arch/exit-code.ts';
import { GhcbInfo } from '../../src/arch/ghcb.ts';
import { Msr } from '../../src/arch/msr.ts';
import { assemble } from '../../src/asm/assemble.ts';
import type { NamedBytes } from '../../src/virtual-machine.ts';
import { IMAGE, type Served, SHARED, smallGuest } from '../system/small-guest.ts';
import { flat, kernel } from './hosted.ts';

const output: Served = { instruction: 'out 0xe9, al', exitCode: ExitCode.IOIO, info1: 0xe9_0210, sends: ['rax'], takes: [] };
const bare = (code: string): NamedBytes => flat(assemble(code, { origin: BigInt(IMAGE) }).bytes);
const served = (code: string, events: readonly Served[] = [output]): NamedBytes => flat(smallGuest(code, events));

/** Some do not end by themselves. */
export const neighbours: Readonly<Record<string, NamedBytes>> = {
  'a good one': kernel('hello'),
  'one that loops for ever': bare('again: jmp again'),
  'one that writes all over its memory for ever': served(`
    again: mov edi, 0x210000
    mov ecx, 0x1e000
    add rax, 0x12345
    rep stosq
    jmp again`),
  'one that faults without a handler': bare('ud2'),
  'one that floods its console': served('mov al, 0x78\n again: out 0xe9, al\n jmp again'),
  'one that asks for termination': bare(`
    mov ecx, ${Msr.GHCB}
    mov eax, ${GhcbInfo.TERMINATION_REQUEST}
    xor edx, edx
    wrmsr
    vmgexit`),
  'one that shuts down at its first #VC': bare('cpuid'),
  'one that draws RDRAND all the time': bare('again: rdrand rax\n jmp again'),
  'one that leaves again and again': bare(`
    mov ecx, ${Msr.GHCB}
    mov eax, ${GhcbInfo.SEV_INFORMATION_REQUEST}
    xor edx, edx
    again: wrmsr
    vmgexit
    jmp again`),
  'one that halts at once': bare('hlt'),
};

/** Reads the time-stamp counter and draws, 200 times with work between, into its private memory and the page at SHARED. */
export const observer = served(`
  mov edi, 0x180000
  mov ebp, 200
  again: rdtsc
  stosd
  rdrand rax
  stosq
  mov ecx, 1000
  wait: loop wait
  dec ebp
  jnz again
  mov esi, 0x180000
  mov edi, ${SHARED}
  mov ecx, 300
  rep movsq`);
