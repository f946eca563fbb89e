// A processor without a hypervisor: what it reaches itself, when its interrupts come, how runs end. APM vol. 2, 8.1, 14.1.3, 15.31, 16.

import { describe, expect, it } from 'vitest';
import { Msr } from '../../src/arch/msr.ts';
import { launch, run } from '../../src/cbit.ts';
import { assembleGuest, MEMORY, smallGuest } from '../system/small-guest.ts';
import { keep, play, RESULTS, results, wrmsr } from './programs.ts';

const START = `${wrmsr(Msr.APIC_BASE, 0xfee0_0d00)}\n ${wrmsr(0x80f, 0x1ff)}`;
const APIC = 0xfee0_0000;
const out = (port: number, value: number): string => `mov al, ${value}\n out ${port}, al`;

describe('what it reaches', () => {
  it('ports, in every width, and by string instructions', () => {
    const code = `mov eax, 0x44332211\n out 0xe0, eax\n in al, 0xe2\n movzx eax, al\n ${keep(0, 'eax')}
      mov edi, ${RESULTS + 4}\n mov edx, 0xe0\n mov ecx, 2\n rep insw\n mov esi, ${RESULTS + 4}\n mov ecx, 4\n mov edx, 0xe0\n rep outsb\n in eax, dx\n ${keep(2, 'eax')}`;
    // Each byte of REP OUTSB goes to port E0h.
    expect(play(code, results(3))).toEqual([0x33, 0x2211_2211, (0x4433_2222 & 0xffff_ff00) | 0x22]);
  });

  it('devices in memory, by any instruction: reads, stores, both, and strings', () => {
    const code = `mov esi, ${APIC}\n mov eax, [rsi + 0x30]\n ${keep(0, 'eax')}\n mov dword [rsi + 0x80], 0x30\n add dword [rsi + 0x80], 0x20\n mov eax, [rsi + 0x80]\n ${keep(1, 'eax')}
      add esi, 0x30\n mov edi, ${RESULTS + 8}\n movsd\n movq xmm0, [rsi - 4]\n movd eax, xmm0\n ${keep(3, 'eax')}\n push qword [rsi - 4]\n pop rax\n ${keep(4, 'eax')}`;
    expect(play(code, results(5))).toEqual([0x5_0014, 0x50, 0x5_0014, 0x5_0014, 0x5_0014]);
  });

  it('where nothing is all ones', () => {
    expect(
      play(
        `mov esi, 0xfd000000\n mov eax, [rsi]\n ${keep(0, 'eax')}\n mov [rsi], eax\n in al, 0x99\n movzx eax, al\n ${keep(1, 'eax')}`,
        results(2),
      ),
    ).toEqual([0xffff_ffff, 0xff]);
  });

  it('the registers of the test memory in a hot loop: compiled code leaves its devices to the interpreter', () => {
    const bytes = smallGuest(
      `xor ebx, ebx\n mov esi, 0xff000000\n mov ecx, 40000\n again: mov [rsi], ecx\n mov eax, [rsi]\n add ebx, eax\n inc dword [rsi + 8]\n dec ecx\n jnz again\n mov eax, ebx\n add eax, [rsi + 8]\n mov edx, 0xf4\n out dx, eax`,
    );
    const go = (tier: 'interpreter' | 'compiler') =>
      run({ image: { name: 'test', bytes }, technology: 'none', bare: true, memory: MEMORY, maxInstructions: 1_000_000, tier });
    const compiled = go('compiler');
    expect(compiled.value).toBe((40_000 * 40_001) / 2 + 40_000);
    expect(go('interpreter').traceHash).toBe(compiled.traceHash);
  });
});

describe('model-specific registers', () => {
  it.each([
    ['SYSCFG has MemEncryptionModEn, and not the bits of SEV-SNP', Msr.SYSCFG, 0x0080_0000, 0x0100_0000],
    ['TOP_MEM is an address', Msr.TOP_MEM, 0x80_0000, 1],
    ['an MTRR takes memory types only', Msr.MTRR_DEF_TYPE, 0xc06, 0xc02],
    ['HWCR keeps SMMLOCK', Msr.HWCR, 0x0100_0011, 0x0100_0010],
  ])('%s', (_, msr, good, bad) => {
    const code = `${wrmsr(msr, good)}\n mov r11d, r10d\n ${wrmsr(msr, bad)}\n mov ecx, ${msr}\n rdmsr\n ${keep(0, 'eax')}\n ${keep(1, 'r10d')}\n ${keep(2, 'r11d')}`;
    expect(play(code, results(3), { faults: 2 })).toEqual([good, 1, 0]);
  });

  it('VM_CR: SVM is disabled and locked, so EFER.SVME is reserved and VMRUN undefined', () => {
    const code = `mov ecx, ${Msr.VM_CR}\n rdmsr\n ${keep(0, 'eax')}\n mov ecx, ${Msr.EFER}\n rdmsr\n ${keep(1, 'eax')}\n or eax, 0x1000\n wrmsr\n ${keep(2, 'r10d')}`;
    expect(play(code, results(3), { faults: 2 })).toEqual([0x18, 0xd00, 1]);
    expect(play(`xor eax, eax\n vmrun\n ${keep(0, 'r10d')}`, results(1), { faults: 3 })).toEqual([1]);
  });

  it('TOP_MEM says how much memory there is', () => {
    expect(play(`mov ecx, ${Msr.TOP_MEM}\n rdmsr\n ${keep(0, 'eax')}`, results(1))).toEqual([MEMORY]);
  });

  it('what does not exist is #GP, and so are those of encrypted guests', () => {
    for (const msr of [0x1234, Msr.GHCB, Msr.VM_HSAVE_PA])
      expect(play(`mov ecx, ${msr}\n rdmsr\n ${keep(0, 'r10d')}`, results(1), { faults: 2 })).toEqual([1]);
    expect(play(`mov ecx, ${Msr.SEV_STATUS}\n rdmsr\n ${keep(0, 'eax')}`, results(1))).toEqual([0]);
  });

  it('a write of the time-stamp counter moves the TSC deadline', () => {
    const code = `${START}\n ${wrmsr(0x832, 0x4_0041)}\n rdtsc\n add eax, 1000000\n mov ecx, 0x6e0\n wrmsr\n add eax, 100\n mov ecx, 0x10\n wrmsr\n sti\n nop\n nop\n h41: ${keep(0, 'r10d')}\n mov dword [${RESULTS}], 7`;
    expect(play(code, results(1), { gates: { 0x41: 'h41' } })).toEqual([7]);
  });
});

describe('CPUID', () => {
  it('is the processor itself: no hypervisor, SVM, memory encryption, its local APIC', () => {
    const code = `mov eax, 1\n cpuid\n ${keep(0, 'ecx')}\n mov eax, 0x80000001\n cpuid\n ${keep(1, 'ecx')}\n mov eax, 0x8000001f\n xor ecx, ecx\n cpuid\n ${keep(2, 'eax')}\n ${keep(3, 'ebx')}\n mov eax, 0x40000000\n cpuid\n ${keep(4, 'eax')}`;
    const [leaf1 = 0, extended = 0, encryption = 0, place = 0, hypervisor] = play(code, results(5));
    expect([leaf1 >>> 31, (leaf1 >>> 21) & 1, (leaf1 >>> 24) & 1, (extended >>> 2) & 1]).toEqual([0, 1, 1, 1]);
    expect([encryption & 0xb, place & 0x3f, (place >>> 6) & 0x3f, hypervisor]).toEqual([0xb, 51, 4, 0]);
  });

  it('does not report the APIC while APIC_BASE.AE is clear', () => {
    const ask = (n: number): string => `mov eax, 1\n cpuid\n shr edx, 9\n and edx, 1\n ${keep(n, 'edx')}`;
    expect(play(`${ask(0)}\n ${wrmsr(Msr.APIC_BASE, 0xfee0_0100)}\n ${ask(1)}`, results(2))).toEqual([1, 0]);
  });
});

describe('interrupts', () => {
  it('of the timer come behind the very instruction at which the count is zero', () => {
    // 1,000 instructions of 16 ns from the WRMSR on; RDTSC is the first instruction of the handler, and 32 ticks each.
    const code = `${START}\n ${wrmsr(0x83e, 0xb)}\n ${wrmsr(0x832, 0x41)}\n sti\n mov ecx, 0x838\n rdtsc\n mov ebx, eax\n mov eax, 16000\n xor edx, edx\n wrmsr\n wait: jmp wait\n h41: rdtsc\n sub eax, ebx\n ${keep(0, 'eax')}\n mov byte [${RESULTS + 4}], 1`;
    // From RDTSC to WRMSR: MOV, MOV, XOR.
    const [ticks] = play(code, results(1), { gates: { 0x41: 'h41' } });
    expect((ticks ?? 0) / 32).toBe(4 + 1000);
  });

  it('of the 8254 come through the 8259A, which tells its vector where the processor acknowledges', () => {
    const pic = [0x11, 0x20, 4, 1, 0xfe].map((value, n) => out(n === 0 ? 0x20 : 0x21, value)).join('\n');
    const code = `${pic}\n ${out(0x43, 0x34)}\n ${out(0x40, 0xff)}\n ${out(0x40, 0xff)}\n sti\n mov ecx, 3\n again: hlt\n dec ecx\n jnz again\n cli\n ${keep(0, 'ebx')}\n jmp over\n h20: inc ebx\n push rax\n ${out(0x20, 0x20)}\n pop rax\n iretq`;
    play(
      `xor ebx, ebx\n ${code}`,
      ({ view, machine, result }) => {
        expect(view.getUint32(0, true)).toBe(3);
        expect(machine.time * 16).toBeGreaterThan(3 * 54.9e6);
        expect(result.instructions).toBeLessThan(200);
      },
      { gates: { 0x20: 'h20' } },
    );
  });

  it('of the DMA engine come at pin 10', () => {
    const io = (index: number, value: number): string =>
      `mov esi, 0xfec00000\n mov dword [rsi], ${index}\n mov dword [rsi + 0x10], ${value}`;
    const code = `${wrmsr(0x1b, 0xfee0_0900)}\n mov esi, ${APIC + 0xf0}\n mov dword [rsi], 0x1ff\n ${io(0x10 + 20, 0x8045)}\n sti
      mov dword [0x203000], 0x203100\n mov dword [0x203004], 0x203200\n mov dword [0x203008], 4\n mov dword [0x20300c], 0\n mov dword [0x203100], 0x1234
      mov esi, 0xfeb00000\n mov dword [rsi], 0x203000\n mov dword [rsi + 4], 3\n nop\n mov eax, [0x203200]\n ${keep(0, 'eax')}\n ${keep(1, 'ebx')}\n jmp over
      h45: inc ebx\n mov dword [rsi + 8], 1\n mov edi, ${APIC + 0xb0}\n mov dword [rdi], 0\n iretq`;
    expect(play(`xor ebx, ebx\n ${code}`, results(2), { gates: { 0x45: 'h45' } })).toEqual([0x1234, 1]);
  });
});

describe('a run', () => {
  it('ends with shutdown at a triple fault', () => {
    const code = `lidt [rel none]\n ud2\n none: dw 0\n dq 0`;
    expect(play(code, ({ result }) => result.outcome)).toEqual({ kind: 'shutdown' });
  });

  it('ends where the program says', () => {
    expect(
      play(`mov edx, 0xf4\n mov eax, 5\n out dx, eax\n ${keep(0, 'edx')}`, ({ result, view }) => [result.value, view.getUint32(0, true)]),
    ).toEqual([5, 0]);
  });

  it('stops at the limit, to the instruction', () => {
    expect(play('here: jmp here', ({ result }) => [result.outcome.kind, result.instructions], { maxInstructions: 12_345 })).toEqual([
      'limit',
      12_345,
    ]);
  });

  it('has no exit and no VMRUN', () => {
    play(`cpuid\n in al, 0x61\n ${START}`, ({ events, result }) => {
      expect(events.filter(({ kind }) => kind !== 'end')).toEqual([]);
      expect(result.exits).toEqual({});
    });
  });

  it('is the same however it is cut into slices', () => {
    const { bytes } = assembleGuest(
      `${START}\n ${wrmsr(0x83e, 0xb)}\n ${wrmsr(0x832, 0x2_0041)}\n ${wrmsr(0x838, 1000)}\n sti\n mov ecx, 3000\n again: inc ebx\n mov eax, [0xfee00390]\n dec ecx\n jnz again\n jmp over\n h41: push rax\n push rcx\n push rdx\n xor edi, ebx\n rol edi, 3\n ${wrmsr(0x80b, 0)}\n pop rdx\n pop rcx\n pop rax\n iretq\n over: cli\n mov eax, edi\n mov edx, 0xf4\n out dx, eax`,
      [],
      { 0x41: 'h41' },
    );
    const value = (slice: number): unknown => {
      const vm = launch({ image: { name: 'test', bytes }, technology: 'none', bare: true, memory: MEMORY, maxInstructions: 1_000_000 });
      try {
        while (!vm.advance(slice));
        return vm.result().value;
      } finally {
        vm.dispose();
      }
    };
    expect(new Set([1, 7, 1000, 1_000_000].map(value)).size).toBe(1);
  });
});

describe('INIT', () => {
  it.each([
    ['by the local APIC', `${START}\n ${wrmsr(0x830, 0x4_4500)}`],
    ['by port 92h', out(0x92, 1)],
  ])('%s resets the registers; execution goes on at the reset vector, where nothing is', (_, code) => {
    // All ones are #UD: its vector in the table at 0 leads to code in real mode that halts.
    const real = `mov dword [0x18], 0x800\n mov dword [0x800], 0xd88cc031\n mov dword [0x804], 0xf40700a3`;
    play(`${real}\n mov dword [0x700], -1\n ${code}\n ${keep(0, 'eax')}`, ({ vm, machine, result }) => {
      const word = new Uint8Array(2);
      vm.bare?.memory.read(0x700n, word);
      expect([[...word], result.outcome.kind]).toEqual([[0, 0], 'halted']);
      expect(machine.engine.cpu.processor.mode).toBe(16);
    });
  });
});
