import { describe, expect, it } from 'vitest';
import { run, VirtualMachine } from '../../src/virtual-machine.ts';
import { UserError } from '../../src/util/errors.ts';
import { quiet } from './options.ts';

/** mov al, 0; out 0xf4, al; hlt */
const endWith = (value: number) => [0xb0, value, 0xe6, 0xf4, 0xf4];

describe('a guest', () => {
  it.each(['none', 'sev'] as const)('ends itself under %s by a write to the test device', (technology) => {
    expect(run(quiet(endWith(0), { technology }))).toMatchObject({
      outcome: { kind: 'ended', value: 0 },
      status: 0,
      value: 0,
      exits: { IOIO: 1 },
    });
    expect(run(quiet(endWith(7), { technology }))).toMatchObject({ outcome: { kind: 'ended', value: 7 }, status: 1, value: 7 });
  });

  it('under SEV-ES without a #VC handler shuts down', () => {
    expect(run(quiet(endWith(0), { technology: 'sev-es' }))).toMatchObject({
      outcome: { kind: 'shutdown' },
      status: 1,
      exits: { SHUTDOWN: 1 },
      vc: { IOIO: 1 },
    });
  });

  it.each(['none', 'sev', 'sev-es'] as const)('halts for good under %s', (technology) => {
    expect(run(quiet([0xf4], { technology }))).toMatchObject({ outcome: { kind: 'halted', interruptsEnabled: false }, status: 1 });
    expect(run(quiet([0xf4], { technology, haltOk: true }))).toMatchObject({ status: 0 });
  });

  it.each([16, 32, 64] as const)('starts in mode %i', (mode) => {
    for (const technology of ['none', 'sev', 'sev-es'] as const)
      expect(run(quiet([0x90, 0xf4], { mode, technology })).outcome.kind).toBe('halted');
  });

  it.each(['naples', 'rome', 'milan', 'genoa', 'turin'])('runs on %s', (cpu) => {
    for (const technology of ['none', 'sev', 'sev-es'] as const)
      expect(run(quiet([0x90, 0xf4], { cpu, technology })).outcome.kind).toBe('halted');
  });

  it('reaches its limit at the exact instruction', () => {
    const result = run(quiet([0xeb, 0xfe], { maxInstructions: 12_345 }), 1000);
    expect(result).toMatchObject({ outcome: { kind: 'limit' }, status: 3, instructions: 12_345 });
  });

  it('can be interrupted between slices', () => {
    const vm = new VirtualMachine(quiet([0xeb, 0xfe], { maxInstructions: null }));
    expect(vm.advance(1000)).toBe(false);
    vm.interrupt();
    expect(vm.advance(1000)).toBe(true);
    expect(vm.result()).toMatchObject({ outcome: { kind: 'interrupted' }, status: 130, instructions: 1000 });
    vm.dispose();
  });

  it('writes to the debug console and to COM1', () => {
    // mov al, 'a'; out 0xe9, al; mov dx, 0x3f8; mov al, 'b'; out dx, al; hlt
    const { output, ...options } = quiet([0xb0, 0x61, 0xe6, 0xe9, 0x66, 0xba, 0xf8, 0x03, 0xb0, 0x62, 0xee, 0xf4]);
    run(options);
    expect(output).toEqual([0x61, 0x62]);
  });

  it('finds the address of the boot page in RDI', () => {
    // mov rax, [rdi]; mov dx, 0xe9; 8 x { out dx, al; shr rax, 8 }; hlt
    const step = [0xee, 0x48, 0xc1, 0xe8, 0x08];
    const { output, ...options } = quiet([0x48, 0x8b, 0x07, 0x66, 0xba, 0xe9, 0x00, ...Array(8).fill(step).flat(), 0xf4]);
    for (const technology of ['none', 'sev'] as const) {
      output.length = 0;
      run({ ...options, technology });
      expect(String.fromCharCode(...output)).toBe('CBITBOOT');
    }
  });

  // mov eax, 0xfed00000; OP; hlt
  const at = (...op: number[]) => [0xb8, 0x00, 0x00, 0xd0, 0xfe, ...op, 0xf4];

  it.each(['none', 'sev'] as const)('reads all-ones at addresses that nobody has, under %s', (technology) => {
    // mov ebx, [rax]; mov [rax], ebx; add [rax], ebx; movzx ecx, byte [rax+3]; cmp ebx, -1; jne +1; hlt; ud2
    const code = at(0x8b, 0x18, 0x89, 0x18, 0x01, 0x18, 0x0f, 0xb6, 0x48, 0x03, 0x83, 0xfb, 0xff, 0x75, 0x01);
    expect(run(quiet([...code, 0x0f, 0x0b], { technology }))).toMatchObject({ outcome: { kind: 'halted' }, exits: { NPF: 4, HLT: 1 } });
  });

  it('moves strings between RAM and such addresses', () => {
    // mov rsi, rax; lea rdi, [rip]; mov ecx, 4; rep movsb: the second operand is found through the guest's own tables
    const code = at(0x48, 0x89, 0xc6, 0xbf, 0x00, 0x01, 0x20, 0x00, 0xb9, 0x04, 0, 0, 0, 0xf3, 0xa4, 0x8a, 0x07);
    expect(run(quiet(code))).toMatchObject({ outcome: { kind: 'halted' }, exits: { NPF: 4 } });
  });

  it('is stopped where it executes such addresses, or has a page table there', () => {
    expect(run(quiet(at(0xff, 0xe0))).outcome).toMatchObject({ kind: 'stopped', reason: expect.stringContaining('executes') });
    // mov cr3, rax
    expect(run(quiet(at(0x0f, 0x22, 0xd8))).outcome).toMatchObject({ kind: 'stopped', reason: expect.stringContaining('page table') });
  });

  it('takes #VC NPF there under SEV-ES', () => {
    expect(run(quiet(at(0x8b, 0x00), { technology: 'sev-es' }))).toMatchObject({ outcome: { kind: 'shutdown' }, vc: { NPF: 1 } });
  });
});

describe('the launch', () => {
  const measure = (more = {}) => run(quiet([0xf4], { technology: 'sev-es', ...more })).measurement;

  it('is measured the same for the same seed and image', () => {
    expect(measure()).toMatch(/^[0-9a-f]{96}$/);
    expect(measure()).toBe(measure());
    expect(run(quiet([0xf4])).measurement).toBeNull();
  });

  it('is measured otherwise if one bit of the image, its entry, or the text is altered', () => {
    const all = [
      measure(),
      measure({ image: { name: 'test', bytes: Uint8Array.of(0xf4, 1) } }),
      measure({ append: 'x' }),
      measure({ memory: 8 << 20 }),
    ];
    expect(new Set(all).size).toBe(4);
  });
});

describe('what a person did wrong', () => {
  it.each([
    [{ technology: 'snp' as never }, /--sev/],
    [{ cpu: 'z80' }, /--cpu z80.*milan/],
    [{ memory: 4097 }, /--memory/],
    [{ memory: 2 ** 40 }, /--memory/],
    [{ intercepts: ['hlt'] }, /--intercept/],
    [{ load: 2 ** 40 }, /outside/],
  ])('%j is a UserError', (options, says) => {
    expect(() => run(quiet([0xf4], options))).toThrow(UserError);
    expect(() => run(quiet([0xf4], options))).toThrow(says);
  });
});
