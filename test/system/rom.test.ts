// ROM images: where they lie, how they start, and that nothing changes them.

import { describe, expect, it } from 'vitest';
import { assemble, launch, run, type Run, type GuestOptions, UserError } from '../../src/cbit.ts';
import { technologies } from './runs.ts';

const SIZE = 0x1_0000;

/** A ROM of 64 KiB whose code starts at F000:0000; the reset vector jumps there. `size`: with FFh in front. */
function rom(code: string, size = SIZE): Uint8Array {
  const { bytes } = assemble(
    `bits 16
     ${code}
     hlt
     align 0x10
     times 0xfff0 - ($ - $$) db 0x90
     jmp 0xf000:0
     times 0x10000 - ($ - $$) db 0`,
    { bits: 16 },
  );
  const image = new Uint8Array(size).fill(0xff);
  image.set(bytes, size - SIZE);
  return image;
}

const boot = (code: string, more: Partial<GuestOptions> = {}, size = SIZE): Run =>
  run({ bios: { name: 'rom', bytes: rom(code, size) }, technology: 'none', maxInstructions: 100_000, ...more });

/** Ends the run with EAX. */
const end = 'mov dx, 0xf4\nout dx, eax';

describe('a ROM image', () => {
  it.each(['none', 'sev'] as const)('starts at its reset vector, 16 bytes below 4 GiB (%s)', (technology) => {
    expect(boot(`mov eax, 0x1234\n${end}`, { technology }).value).toBe(0x1234);
  });

  it('starts under SEV-ES, too, where an IN or OUT is a #VC', () => {
    const { outcome, measurement } = boot('', { technology: 'sev-es' });
    expect(outcome.kind).toBe('halted');
    expect(measurement).toMatch(/^[0-9a-f]{96}$/);
  });

  /** A ROM that ends by termination 5:n, n being where it began: 1 at the reset vector, 2 at FFFF_F100h, which its table may name. */
  function severalProcessors(table: boolean): Uint8Array {
    const terminate = (n: number): string => `mov ecx, 0xc0010130\nmov eax, ${(n << 16) | 0x5100}\nxor edx, edx\nwrmsr\nvmgexit\nhlt`;
    const image = rom('');
    image.set(
      assemble(`bits 16\ncmp word [0x500], 1\nmov word [0x500], 1\nje again\njmp $\nagain: ${terminate(1)}`, { bits: 16 }).bytes,
      0,
    );
    image.set(assemble(`bits 16\n${terminate(2)}`, { bits: 16 }).bytes, 0xf100);
    const bytes = (hex: string): Buffer => Buffer.from(hex, 'hex');
    if (table) image.set(bytes('00f1ffff1600de71f7007e1acb4f890e68c77e2fb44e2800de82b596b21ff745baeaa366c55a082d'), SIZE - 0x20 - 40);
    return image;
  }

  it.each([
    ['at the address of its SEV-ES reset block', true, 2],
    ['at the reset vector, if it has none', false, 1],
  ])('has the other processors of an SEV-ES guest begin %s, when a STARTUP message comes', (_name, table, code) => {
    const vm = launch({ bios: { name: 'rom', bytes: severalProcessors(table) }, technology: 'sev-es', vcpus: 2, maxInstructions: 100_000 });
    try {
      expect(vm.advance(20_000)).toBe(false);
      vm.guest.vm.vcpus[1]?.interrupts.apic.accepts({ type: 6, vector: 0, level: false, logical: false, destination: 1 });
      while (!vm.advance(100_000));
      const { outcome, warnings } = vm.result();
      expect(outcome).toMatchObject({ kind: 'terminated', set: 5, code });
      expect(/reset block/.test(warnings.join())).toBe(!table);
    } finally {
      vm.dispose();
    }
  });

  it('starts with CR0 60000010h, EFLAGS 2 and the signature of the processor in EDX', () => {
    expect(boot(`mov eax, cr0\n${end}`).value).toBe(0x6000_0010);
    expect(boot(`pushfd\npop eax\n${end}`).value).toBe(2);
    expect(boot(`mov eax, edx\n${end}`, { cpu: 'milan' }).value).toBe(0x00a0_0f11);
  });

  it('lies below 1 MiB as well, with its last 128 KiB', () => {
    const marker = 'mov ax, 0xe000\nmov ds, ax\nmov eax, [0]';
    expect(boot(`${marker}\n${end}`, {}, 0x4_0000).value).toBe(0xffff_ffff);
    expect(boot(`mov eax, [cs:0xfff0]\n${end}`).value).toBe(0x0000_00ea);
  });
  it.each(['none', 'sev'] as const)('is not changed by a write, at neither of its places (%s)', (technology) => {
    const { value, exits } = boot(`mov ax, 0xf000\nmov ds, ax\nmov byte [0xfff0], 7\nmov eax, [0xfff0]\n${end}`, { technology });
    expect(value).toBe(0x0000_00ea);
    expect(exits['NPF']).toBe(1);
  });

  it('ends the run of an SEV-ES guest that writes to it without its GHCB', () => {
    const { outcome } = boot('mov ax, 0xf000\nmov ds, ax\nmov byte [0xfff0], 7', { technology: 'sev-es' });
    expect(outcome).toMatchObject({ kind: 'stopped', reason: expect.stringMatching(/0xffff0, in ROM/) });
  });

  it('leaves RAM from 0 to A0000h and from 1 MiB on, and nothing between A0000h and the ROM', () => {
    const at = (segment: number) => `mov ax, ${segment}\nmov ds, ax\nmov dword [0xfff0], 0x55aa55aa\nmov eax, [0xfff0]\n${end}`;
    expect(boot(at(0x9000)).value).toBe(0x55aa_55aa);
    expect(boot(at(0xa000)).value).toBe(0xffff_ffff);
    expect(boot(at(0xd000)).value).toBe(0x55aa_55aa);
    expect(boot(at(0xffff)).value).toBe(0x55aa_55aa); // FFFF:FFF0 = 10FFE0h: A20 is on
  });

  it('has the bases of FS and GS count where the hypervisor executes an access', () => {
    expect(boot(`mov ax, 0xa001\nmov fs, ax\nmov eax, [fs:0x10]\n${end}`).value).toBe(0xffff_ffff);
    expect(boot(`mov ax, 0xa001\nmov gs, ax\nmov eax, [gs:0x10]\n${end}`).value).toBe(0xffff_ffff);
  });

  it('may use an instruction that reads and writes memory where none is', () => {
    expect(boot(`mov ax, 0xa000\nmov ds, ax\nmov bx, 1\nadd word [0], bx\nmov eax, [0]\n${end}`).value).toBe(0xffff_ffff);
  });

  it.each(technologies)('has a size of whole pages up to 16 MiB (%s)', (technology) => {
    const start = (size: number) => () => run({ bios: { name: 'rom', bytes: new Uint8Array(size) }, technology, maxInstructions: 10 });
    for (const size of [0, 1, 4095, 4097, (16 << 20) + 4096]) expect(start(size)).toThrow(UserError);
    for (const size of [4096, 16 << 20]) expect(start(size)).not.toThrow();
  });

  it('says itself how it starts, and takes nothing besides', () => {
    const bios = { name: 'rom', bytes: rom('') };
    for (const wrong of [{ mode: 16 as const }, { load: 0 }, { entry: 0 }, { append: 'x' }, { initrd: bios }])
      expect(() => run({ bios, ...wrong })).toThrow(/^--/);
    expect(() => run({})).toThrow(/--bios/);
  });

  it('finds another image in fw_cfg, with its command line', () => {
    const item = (n: number) => `mov ax, ${n}\nmov dx, 0x510\nout dx, ax\nmov dx, 0x511\nin al, dx`;
    const image = { name: 'kernel', bytes: Uint8Array.of(0x77, 0x66) };
    expect(boot(`xor eax, eax\n${item(0x11)}\nmovzx eax, al\n${end}`, { image, append: 'x' }).value).toBe(0x77);
    expect(boot(`${item(0x15)}\nmovzx eax, al\n${end}`, { image, append: 'x' }).value).toBe('x'.charCodeAt(0));
  });
});
