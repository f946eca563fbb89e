// Images of every format, run to their end, and the registers they leave.

import { describe, expect, it } from 'vitest';
import { assemble, type GuestOptions, launch, run, type VirtualMachine } from '../../src/cbit.ts';
import { registersOf } from '../../src/debug/registers.ts';
import { elf32, header, LOAD, note, PT_NOTE, withAddresses } from '../hypervisor/images/build-image.ts';
import { technologies } from './runs.ts';

const LIMIT = 100_000;
const file = (bytes: Uint8Array, name = 'image') => ({ name, bytes });
const at = (origin: number, bits: 16 | 32 | 64, source: string) => assemble(source, { origin: BigInt(origin), bits }).bytes;
const join = (...parts: readonly Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));

/** Sends the text at ESI over COM1 with `mov dx, 0x3f8` before. */
const send = (n: number) => `mov dx, 0x3f8\nl${n}: lodsb\ntest al, al\njz d${n}\nout dx, al\njmp l${n}\nd${n}:`;
const end = 'mov dx, 0xf4\nout dx, eax\nhlt';

describe('foreign images', () => {
  it.each(['none', 'sev'] as const)('a Multiboot kernel reads its command line and its module (%s)', (technology) => {
    const code = at(
      LOAD + 12,
      32,
      `
      cmp eax, 0x2badb002
      jne wrong
      push eax        ; anywhere: ESP is undefined, and memory below 4 GiB that is none swallows it
      mov esi, [ebx + 16]
      ${send(0)}
      mov edi, [ebx + 24]
      mov esi, [edi]
      ${send(1)}
      mov esi, [edi + 8]
      ${send(2)}
      xor eax, eax
      ${end}
      wrong: mov eax, 1
      ${end}`,
    );
    const kernel = elf32([{ paddr: LOAD, bytes: join(header({ flags: 3 }), code) }], LOAD + 12);
    const initrd = file(new TextEncoder().encode(' module\0'), 'disk');
    const { serial, value } = run({ image: file(kernel, 'kernel'), initrd, append: 'a b', technology, maxInstructions: LIMIT });
    expect([serial, value]).toEqual(['kernel a b moduledisk', 0]);
  });

  it('a Multiboot kernel with addresses gets zeros behind what the file holds', () => {
    const code = at(LOAD + 32, 32, `mov eax, [${LOAD + 0x2000}]\n${end}`);
    expect(run({ image: file(withAddresses(code, { bssEndAddr: LOAD + 0x3000 })), technology: 'sev', maxInstructions: LIMIT }).value).toBe(
      0,
    );
  });

  it('a PVH kernel finds its command line', () => {
    const code = at(LOAD, 32, `mov esi, [ebx + 24]\n${send(0)}\nmov eax, [ebx]\n${end}`);
    const kernel = elf32(
      [
        { paddr: LOAD, bytes: code },
        { type: PT_NOTE, paddr: 0, bytes: note(LOAD) },
      ],
      0,
    );
    const { serial, value } = run({ image: file(kernel), append: 'quiet', technology: 'none', maxInstructions: LIMIT });
    expect([serial, value]).toEqual(['quiet', 0x336e_c578]);
  });

  it.each(technologies)('a Multiboot kernel that halts is measured like any other (%s)', (technology) => {
    const kernel = withAddresses(at(LOAD + 32, 32, 'cli\nhlt'));
    const { outcome, measurement, status } = run({ image: file(kernel), technology, haltOk: true, maxInstructions: LIMIT });
    expect([outcome.kind, status, measurement === null]).toEqual(['halted', 0, technology === 'none']);
  });

  it.each([16, 32, 64] as const)('a flat binary of %i bits runs where it is loaded', (mode) => {
    const load = 0x8000;
    const code = at(load, mode, `mov eax, 0x1234\n${end}`);
    expect(run({ image: file(code), mode, load, technology: 'none', maxInstructions: LIMIT }).value).toBe(0x1234);
  });

  it.each([
    [16, 'none', 0],
    [16, 'sev', 1],
    [16, 'sev-es', 3],
    [32, 'none', 0],
    [32, 'sev', 1],
    [32, 'sev-es', 3],
  ] as const)('a flat binary of %i bits starts under %s, with stack and private memory', (mode, technology, status) => {
    const code = at(
      0x8000,
      mode,
      'mov ecx, 0xc0010131\nrdmsr\npush eax\npop dword [0x9000]\ncmp dword [0x9000], ' + status + '\njne $\nhlt',
    );
    const { outcome } = run({ image: file(code), mode, load: 0x8000, technology, maxInstructions: LIMIT });
    expect(outcome.kind).toBe('halted');
  });

  it('an ELF32 executable starts in 32-bit mode, as docs/entry.md has it', () => {
    const code = at(LOAD, 32, `mov eax, [edi]\n${end}`); // RDI: the boot page
    const value = run({ image: file(elf32([{ paddr: LOAD, bytes: code }], LOAD)), technology: 'none', maxInstructions: LIMIT }).value;
    expect(value).toBe(new DataView(new TextEncoder().encode('CBIT').buffer).getUint32(0, true));
  });

  it('a file for an image that could not take it is refused', () => {
    const image = file(at(LOAD, 64, 'hlt'));
    expect(() => run({ image, initrd: image })).toThrow(/--initrd/);
  });
});

describe('the registers at the end', () => {
  function finalRegisters(source: string, mode: 16 | 32 | 64, options: Partial<GuestOptions> = {}) {
    const load = options.load ?? 0x10_0000;
    const vm: VirtualMachine = launch({ image: file(at(load, mode, source)), mode, maxInstructions: LIMIT, ...options });
    try {
      while (!vm.advance(LIMIT));
      return registersOf(vm);
    } finally {
      vm.dispose();
    }
  }

  it.each(technologies)('are those that the guest left (%s)', (technology) => {
    const registers = finalRegisters(
      `mov rax, 0x1122334455667788
       mov rbx, -1
       mov r8, 8
       mov r15, 15
       movq xmm0, rax
       pshufd xmm15, xmm0, 0x44
       fld1
       mov rcx, 0x1000
       xor edx, edx
       stc
       cli
       hlt`,
      64,
      { technology },
    );
    expect(registers).toMatchObject({
      rax: '0x1122334455667788',
      rbx: '0xffffffffffffffff',
      rcx: '0x1000',
      rdx: '0x0',
      r8: '0x8',
      r15: '0xf',
    });
    expect(registers).toMatchObject({ rflags: '0x47', cpl: '0x0', cr4: '0x620', efer: '0x1d00', mxcsr: '0x1f80' });
    expect(registers).toMatchObject({ xmm0: '0x1122334455667788', xmm15: '0x11223344556677881122334455667788' });
    expect(registers.x87).toMatchObject({ control: '0x37f', status: '0x3800', tags: '0x3fff', r7: '0x3fff8000000000000000', r0: '0x0' });
    expect(registers.segments.cs).toMatchObject({ selector: '0x8', base: '0x0' });
  });

  it('stand behind the HLT that ended the run', () => {
    expect(finalRegisters('nop\ncli\nhlt', 64, { technology: 'none' }).rip).toBe('0x100003');
    expect(finalRegisters('nop\ncli\nhlt', 64, { technology: 'sev-es' }).rip).toBe('0x100003');
  });

  it('have the segments of real mode', () => {
    const { segments, rip } = finalRegisters('mov ax, 0x1234\nmov fs, ax\nmov es, ax\nhlt', 16, { technology: 'none', load: 0x7c00 });
    for (const name of ['es', 'fs'] as const)
      expect(segments[name]).toMatchObject({ selector: '0x1234', base: '0x12340', limit: '0xffff' });
    expect(Number(rip)).toBeGreaterThan(0x7c00);
  });
});
