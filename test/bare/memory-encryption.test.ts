// SME for system software, from inside the machine and from outside: SYSCFG and the C-bit (APM vol. 2, 7.10), what is reserved, what the
// chips hold, what bus masters reach. The kernels state what they show in their sources.

import { describe, expect, it } from 'vitest';
import { Msr } from '../../src/arch/msr.ts';
import { UserError } from '../../src/cbit.ts';
import { PAGE_SIZE } from '../../src/util/address.ts';
import { finished, runKernel } from '../system/runs.ts';
import { assembleGuest, MEMORY, SHARED } from '../system/small-guest.ts';
import { run, type VirtualMachine } from '../../src/cbit.ts';
import { keep, play, results, wrmsr } from './programs.ts';

const models = ['naples', 'rome', 'milan', 'genoa', 'turin'] as const;
const bare = { technology: 'none', bare: true } as const;
const failures = (serial: string): string[] => serial.split('\n').filter((line) => line.startsWith('FAIL'));

describe.each(models)('on %s', (cpu) => {
  it.each(['sme-partial', 'sme-full', 'dma'])('%s passes', (name) => {
    const { serial, status } = runKernel(name, { ...bare, cpu });
    expect([failures(serial), status]).toEqual([[], 0]);
    expect(serial).toMatch(/SUMMARY: \d+ tests, 0 failed/);
  });

  it('tsme passes with --tsme, and notices where it is missing', () => {
    expect(runKernel('tsme', { ...bare, cpu, tsme: true }).status).toBe(0);
    const { serial, status } = runKernel('tsme', { ...bare, cpu });
    expect([failures(serial), status]).toEqual([['FAIL: with the C-bit it is the same text: there is one key for both'], 1]);
  });
});

describe('under a hypervisor', () => {
  it.each(['sme-partial', 'sme-full', 'tsme'])('%s finds no SME and says so', (name) => {
    const { serial, status } = runKernel(name, { technology: 'none' });
    expect([failures(serial).length, status]).toEqual([1, 1]);
  });
});

/** Pages of the chips that hold a text. */
function pagesWith({ machine }: VirtualMachine, text: string): number {
  const needle = Buffer.from(text);
  const page = Buffer.alloc(PAGE_SIZE);
  let found = 0;
  for (let n = 0; n < machine.pages; n++) if (machine.readCiphertext(n, page) && page.includes(needle)) found++;
  return found;
}
function look<T>(name: string, options: object, at: (vm: VirtualMachine) => T): T {
  const vm = finished(name, { ...bare, ...options });
  try {
    return at(vm);
  } finally {
    vm.dispose();
  }
}

describe('the chips', () => {
  it('hold the texts of a kernel that encrypts nothing', () => {
    expect(look('hello', {}, (vm) => pagesWith(vm, 'This page is private'))).toBeGreaterThan(0);
  });

  it('hold nothing of one that uses the C-bit for all of memory: no text, no code, no page table', () => {
    look('sme-full', {}, (vm) => {
      expect(pagesWith(vm, 'Nothing of this is left')).toBe(0);
      const { machine } = vm;
      const { segments } = vm.image;
      const page = new Uint8Array(PAGE_SIZE);
      const key = machine.encryption.hostKey;
      for (const { start, bytes } of segments) {
        if (bytes.length < PAGE_SIZE) continue;
        machine.readCiphertext(start / PAGE_SIZE, page);
        expect(Buffer.from(page).equals(Buffer.from(bytes.subarray(0, PAGE_SIZE)))).toBe(false);
      }
      // Through the key the code is what was loaded.
      const [code] = segments;
      machine.engine.frames.read(code?.start ?? 0, key, page);
      expect(Buffer.from(page).equals(Buffer.from(code?.bytes.subarray(0, PAGE_SIZE) ?? []))).toBe(true);
    });
  });

  it('hold the pages that sme-partial leaves alone, and not the one that it encrypts', () => {
    look('sme-partial', {}, (vm) => expect(pagesWith(vm, 'Only who has the key can read this. Only')).toBe(2)); // what it compares with, and the plain one
  });

  it('hold ciphertext of everything under TSME, whoever asks for nothing', () => {
    for (const name of ['hello', 'tsme']) {
      look(name, { tsme: true }, (vm) => {
        expect(pagesWith(vm, name === 'hello' ? 'This page is private' : 'Nobody asked for this')).toBe(0);
        expect(pagesWith(vm, 'PASS')).toBe(0);
      });
    }
  });

  it('hold other ciphertext with another seed: the key is drawn at reset', () => {
    const ciphertext = (seed: string): string =>
      look('tsme', { tsme: true, seed }, ({ machine }) => {
        const page = new Uint8Array(PAGE_SIZE);
        machine.readCiphertext(0x100, page);
        return Buffer.from(page).toString('hex');
      });
    expect(ciphertext('1')).not.toBe(ciphertext('2'));
    expect(ciphertext('1')).toBe(ciphertext('1'));
  });
});

describe('the C-bit', () => {
  const C_HIGH = 1 << 19; // bit 51
  const cr3 = `mov rax, cr3\n mov rbx, ${1n << 51n}\n or rax, rbx\n mov cr3, rax`;

  it('is a reserved bit of CR3 while memory encryption is off', () => {
    expect(play(`${cr3}\n ${keep(0, 'r10d')}`, results(1), { faults: 3 })).toEqual([1]);
  });

  it('in CR3 makes the highest table read through the key: one that is plain text is noise then', () => {
    expect(play(`${wrmsr(Msr.SYSCFG, 0x80_0000)}\n ${cr3}\n ${keep(0, 'r10d')}`, ({ result }) => result.outcome, { faults: 3 })).toEqual({
      kind: 'shutdown',
    });
  });

  it('of a page makes its text noise, and turning encryption off makes it an address bit again, which is reserved', () => {
    // The entry of the second 2 MiB, where the results are.
    const code = `mov rbx, cr3\n add rbx, 0x2008\n mov dword [0x203000], 0x12345678\n ${wrmsr(Msr.SYSCFG, 0x80_0000)}
      or dword [rbx + 4], ${C_HIGH}\n mov esi, [0x203000]\n and dword [rbx + 4], ${~C_HIGH >>> 0}\n ${keep(0, 'esi')}\n mov eax, [0x203000]\n ${keep(1, 'eax')}
      ${wrmsr(Msr.SYSCFG, 0)}\n or dword [rbx + 4], ${C_HIGH}\n mov eax, [0x203000]\n jmp over
      h14: pop rcx\n and dword [rbx + 4], ${~C_HIGH >>> 0}\n ${keep(2, 'ecx')}`;
    const [noise, text, code14] = play(code, results(3), { gates: { 14: 'h14' } });
    expect(noise).not.toBe(0x1234_5678);
    expect([text, code14]).toEqual([0x1234_5678, 9]); // P, RSV
  });

  it('in a page whose TLB entry is in use takes effect at once', () => {
    const code = `${wrmsr(Msr.SYSCFG, 0x80_0000)}\n mov rbx, cr3\n add rbx, 0x2008\n mov ecx, 3000\n again: mov dword [0x203000], ecx\n or dword [rbx + 4], ${C_HIGH}
      mov eax, [0x203000]\n and dword [rbx + 4], ${~C_HIGH >>> 0}\n cmp eax, ecx\n jne differs\n inc r10d\n differs: dec ecx\n jnz again\n ${keep(0, 'r10d')}`;
    expect(play(code, results(1))).toEqual([0]);
  });

  it('of an address that a bus master names selects the key while encryption is on', () => {
    play(wrmsr(Msr.SYSCFG, 0x80_0000), ({ vm }) => {
      const memory = vm.bare!.memory;
      const C = 1n << 51n;
      memory.write(0x30_0000n | C, Buffer.from('through the key'));
      const plain = Buffer.alloc(15);
      const keyed = Buffer.alloc(15);
      memory.read(0x30_0000n, plain);
      memory.read(0x30_0000n | C, keyed);
      expect([plain.equals(keyed), keyed.toString()]).toEqual([false, 'through the key']);
    });
    play('nop', ({ vm }) => expect(vm.bare!.memory.read(1n << 51n, new Uint8Array(1))).toBe(false));
  });
});

describe('the DMA engine', () => {
  // The image's page is private, the page of results shared.
  const copy = (
    from: number,
  ): string => `mov dword [${SHARED + 0x800}], ${from}\n mov dword [${SHARED + 0x804}], ${SHARED + 0x100}\n mov dword [${SHARED + 0x808}], 8\n mov dword [${SHARED + 0x80c}], 0
    mov esi, 0xfeb00000\n mov dword [rsi], ${SHARED + 0x800}\n mov dword [rsi + 4], 1\n mov eax, [rsi + 8]\n mov edx, 0xf4\n mov ebx, [${SHARED + 0x100}]\n sub ebx, [${from}]\n neg ebx\n sbb ebx, ebx\n and ebx, 2\n add eax, ebx\n out dx, eax`;
  const value = (technology: 'none' | 'sev', from: number): number | null => {
    const { bytes } = assembleGuest(`mov dword [0x300000], 0x11223344\n mov dword [0x180000], 0x55667788\n ${copy(from)}`, []);
    return run({ image: { name: 'test', bytes }, technology, memory: MEMORY, maxInstructions: 100_000 }).value;
  };

  it.each([
    ['a plain guest: its memory', 'none', 0x18_0000, 1],
    ['an SEV guest: shared pages', 'sev', 0x30_0000, 1],
    ['an SEV guest: ciphertext of private ones', 'sev', 0x18_0000, 3],
  ] as const)('reaches of %s', (_, technology, from, expected) => {
    expect(value(technology, from)).toBe(expected);
  });
});

describe('what makes no sense with --bare is refused in one line', () => {
  it.each([
    [{ technology: 'sev' }, /^--bare: .*--sev sev/],
    [{ sme: true }, /^--bare: .*--sme/],
    [{ intercepts: ['rdtsc'] }, /^--bare: .*--intercept/],
    [{ bios: { name: 'rom', bytes: new Uint8Array(0x1_0000) } }, /^--bare: .*--bios/],
  ] as const)('%o', (options, message) => {
    const { bytes } = assembleGuest('nop');
    const asked = (): unknown => run({ image: { name: 'test', bytes }, bare: true, ...options });
    expect(asked).toThrow(UserError);
    expect(asked).toThrow(message);
  });
});
