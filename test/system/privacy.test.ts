// Over all pages of a run, and while it goes on: what the hypervisor reads of private pages is ciphertext, what it reads of shared ones is
// what the guest wrote. The chips hold what a second implementation of the memory encryption says.

import { afterEach, describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Ghcb, type GhcbField } from '../../src/arch/ghcb.ts';
import { type GuestOptions, launch, type TraceEvent, type VirtualMachine } from '../../src/cbit.ts';
import { nodeAes } from '../../src/cli/aes-node.ts';
import { PAGE_SIZE, spa } from '../../src/util/address.ts';
import { vmsaIntegrityValue } from '../second-implementation.ts';
import { blocksOf, cipherOf, held, opened, ramPages, recordingAes, ZEROS } from './chips.ts';
import { kernel } from './runs.ts';
import { IMAGE, MEMORY, type Served, SHARED, smallGuest } from './small-guest.ts';

let vm: VirtualMachine | null = null;
afterEach(() => {
  vm?.dispose();
  vm = null;
});

function begin(image: GuestOptions['image'], options: Partial<GuestOptions> = {}): VirtualMachine {
  vm?.dispose();
  vm = launch({ image, memory: MEMORY, maxInstructions: 20_000_000, aes: nodeAes, ...options });
  return vm;
}
const end = (guest: VirtualMachine): void => {
  while (!guest.advance(1_000_000));
};
const output: Served = { instruction: 'out 0xe9, al', exitCode: ExitCode.IOIO, info1: 0xe9_0210, sends: ['rax'], takes: [] };
const small = (code: string): NonNullable<GuestOptions['image']> => ({ name: 'small', bytes: smallGuest(code, [output]) });

function hostReads({ machine }: VirtualMachine, page: number): Buffer {
  const bytes = Buffer.alloc(PAGE_SIZE);
  machine.host.memory.read(spa(page * PAGE_SIZE), bytes);
  return bytes;
}
function guestReads({ machine, vcpu }: VirtualMachine, page: number): Buffer {
  const bytes = Buffer.alloc(PAGE_SIZE);
  machine.engine.frames.read(page * PAGE_SIZE, vcpu.vm.config.asid, bytes);
  return bytes;
}
/** The system page of a guest physical address. */
const pageOfGpa = ({ vcpu }: VirtualMachine, gpa: number): number => Math.floor((vcpu.vm.config.ram.at + gpa) / PAGE_SIZE);

/** Fills the private page at 120000h with a text that it makes while it runs, so that no image holds it. */
const TEXT = 'in quiet';
const reversed = BigInt(`0x${Buffer.from(TEXT).reverse().toString('hex')}`);
const keepsSecret = `
  mov rax, ${BigInt.asUintN(64, ~reversed)}
  not rax
  mov edi, 0x120000
  mov ecx, 512
  rep stosq
  xor eax, eax`;

/** Runs a guest while the host reads all of memory before each VMRUN and in the end: where it saw the text, and how often it looked. */
function watched(technology: 'none' | 'sev' | 'sev-es', code: string) {
  const seen: number[] = [];
  let looks = 0;
  const look = (event: TraceEvent): void => {
    if (vm === null || (event.kind !== 'vmrun' && event.kind !== 'end')) return;
    looks++;
    for (let page = 0; page < vm.machine.pages; page++) if (hostReads(vm, page).includes(TEXT)) seen.push(page);
  };
  const guest = begin(small(code), { technology, onEvent: look });
  end(guest);
  expect(guest.outcome).toMatchObject({ kind: 'halted' });
  return { guest, seen, looks };
}
const twoExits = `${keepsSecret}\n out 0xe9, al\n out 0xe9, al`;

it('without encryption the hypervisor reads the secret as soon as it is written', () => {
  const { guest, seen, looks } = watched('none', twoExits);
  expect(looks).toBe(4);
  expect(seen).toEqual([1, 2, 3].map(() => pageOfGpa(guest, 0x12_0000)));
});

describe('a secret in RAX', () => {
  const code = `mov rax, ${BigInt.asUintN(64, ~reversed)}\n not rax`;

  it.each(['none', 'sev'] as const)('under %s is in the VMCB when the guest halts', (technology) => {
    const { guest, seen } = watched(technology, code);
    expect(seen).toEqual([guest.vcpu.vmcbAddress / PAGE_SIZE]);
  });

  it('under SEV-ES is nowhere that the hypervisor can read', () => {
    expect(watched('sev-es', code).seen).toEqual([]);
  });
});

describe.each(['sev', 'sev-es'] as const)('under %s the hypervisor', (technology) => {
  it('reads no private plaintext in any page of the machine, before and after any exit', () => {
    const { guest, seen, looks } = watched(technology, twoExits);
    expect(looks).toBe(4);
    expect(seen).toEqual([]);
    expect(guestReads(guest, pageOfGpa(guest, 0x12_0000)).toString()).toBe(TEXT.repeat(512));
  });

  it('reads no 16 bytes of any private page where the guest has written, after a whole kernel', () => {
    const shared = new Set<number>();
    const guest = begin(kernel('hello'), {
      technology,
      onEvent: (event) => {
        if (event.kind === 'ghcb' && vm !== null) shared.add(pageOfGpa(vm, event.gpa));
      },
    });
    end(guest);
    expect(guest.outcome).toMatchObject({ kind: 'ended', value: 0 });
    const notice = 'This page is shared with the hypervisor. ';
    for (const page of ramPages(guest)) if (hostReads(guest, page).toString('latin1', 0, notice.length) === notice) shared.add(page);
    expect(shared.size).toBe(technology === 'sev-es' ? 2 : 1);

    const written = ramPages(guest).filter((page) => !shared.has(page) && guest.machine.readCiphertext(page, new Uint8Array(PAGE_SIZE)));
    expect(written.length).toBeGreaterThan(20);
    const plaintext = new Set<string>();
    // Storage comes by chunks: a page of zeros in the chips was written by nobody, and its "plaintext" is noise.
    const touched = written.filter((page) => hostReads(guest, page).some((byte) => byte !== 0));
    for (const page of touched) for (const block of blocksOf(guestReads(guest, page))) plaintext.add(block);
    expect(plaintext.has(ZEROS)).toBe(true);
    expect(plaintext.size).toBeGreaterThan(500);
    const leaks = touched.filter((page) => [...blocksOf(hostReads(guest, page))].some((block) => plaintext.has(block)));
    expect(leaks).toEqual([]);
  });
});

describe('the shared GHCB', () => {
  it('holds for the hypervisor exactly the fields that the guest marked valid, at each VMGEXIT', () => {
    let messages = 0;
    const wrong: string[] = [];
    const guest = begin(kernel('cpuid'), {
      onEvent: (event) => {
        if (event.kind !== 'ghcb' || event.from !== 'guest' || vm === null) return;
        messages++;
        const page = hostReads(vm, pageOfGpa(vm, event.gpa));
        for (const [name, value] of Object.entries(event.fields)) {
          const { offset, bytes } = Ghcb.layout[name as GhcbField];
          const there = bytes === 1 ? BigInt(page.readUInt8(offset)) : page.readBigUInt64LE(offset);
          const bit = offset >>> 3;
          const valid = (page.readUInt8(0x3f0 + (bit >>> 3)) >> (bit & 7)) & 1;
          if (there !== value || valid !== 1) wrong.push(`${name} at ${event.at}`);
        }
      },
    });
    end(guest);
    expect(messages).toBeGreaterThan(50);
    expect(wrong).toEqual([]);
  });
});

describe('a page that nobody wrote', () => {
  /** Copies a private page that was never written to a shared one. */
  const copies = small(`mov esi, 0x180000\n mov edi, ${SHARED}\n mov ecx, 512\n rep movsq`);

  it.each(['sev', 'sev-es'] as const)('reads as noise for a guest under %s: the decryption of zeros', (technology) => {
    const { aes, guestKey } = recordingAes();
    const guest = begin(copies, { technology, aes });
    end(guest);
    expect(guest.outcome).toMatchObject({ kind: 'halted' });
    const unwritten = pageOfGpa(guest, 0x18_0000);
    expect(held(guest, unwritten).every((byte) => byte === 0)).toBe(true);
    const read = hostReads(guest, pageOfGpa(guest, SHARED));
    expect(read).toEqual(opened(guest, cipherOf('milan', '0'), guestKey(), unwritten));
    expect(new Set(blocksOf(read)).size).toBe(256);
    const ones = read.reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0);
    expect(ones / (8 * PAGE_SIZE)).toBeCloseTo(0.5, 1);
  });

  it('reads as zeros for a guest without encryption', () => {
    const guest = begin(copies, { technology: 'none' });
    end(guest);
    expect(hostReads(guest, pageOfGpa(guest, SHARED)).every((byte) => byte === 0)).toBe(true);
  });

  it('is other noise under another seed, and at another address', () => {
    const noise = ['0', '1'].map((seed) => {
      const guest = begin(copies, { seed });
      end(guest);
      return [...blocksOf(hostReads(guest, pageOfGpa(guest, SHARED))), ...blocksOf(guestReads(guest, pageOfGpa(guest, 0x18_1000)))];
    });
    expect(new Set(noise.flat()).size).toBe(4 * 256);
  });
});

describe.each([
  ['sev-es', 'milan'],
  ['sev', 'milan'],
  ['sev-es', 'naples'],
  ['sev', 'rome'],
] as const)('what the chips hold under %s on %s', (technology, cpu) => {
  const cipher = cipherOf(cpu, '7');

  it('decrypts to the image when the guest is launched, and to what it wrote afterwards', () => {
    const { aes, guestKey } = recordingAes();
    const { bytes } = small(keepsSecret);
    const guest = begin({ name: 'small', bytes }, { technology, cpu, seed: '7', aes });
    const image = Buffer.alloc(PAGE_SIZE * Math.ceil(bytes.length / PAGE_SIZE));
    image.set(bytes);
    const plaintext = (gpa: number): Buffer => opened(guest, cipher, guestKey(), pageOfGpa(guest, gpa));
    expect(plaintext(IMAGE)).toEqual(image.subarray(0, PAGE_SIZE));
    expect(Buffer.from(held(guest, pageOfGpa(guest, IMAGE)))).not.toEqual(image.subarray(0, PAGE_SIZE));
    end(guest);
    expect(plaintext(0x12_0000).toString()).toBe(TEXT.repeat(512));
    expect(plaintext(IMAGE)).toEqual(image.subarray(0, PAGE_SIZE));
  });
});

describe('the VMSA in the chips', () => {
  it.each(['milan', 'naples'])('on %s has the guest’s registers under its key, and its integrity value in the trusted memory', (cpu) => {
    const { aes, guestKey } = recordingAes();
    const code = 'mov rbx, 0x1122334455667788';
    const guest = begin(small(code), { cpu, seed: '7', aes });
    const page = Number(guest.vcpu.vmcb.vmsaPointer) / PAGE_SIZE;
    const check = (): Buffer => {
      const vmsa = opened(guest, cipherOf(cpu, '7'), guestKey(), page);
      const slot = Number(vmsa.readBigUInt64LE(0x388));
      const value = Buffer.from(held(guest, Math.floor(slot / PAGE_SIZE))).readBigUInt64LE(slot % PAGE_SIZE);
      expect(value).toBe(vmsaIntegrityValue(vmsa));
      return vmsa;
    };
    expect(check().readBigUInt64LE(0x178)).toBe(BigInt(IMAGE)); // RIP
    end(guest);
    expect(check().readBigUInt64LE(0x318)).toBe(0x1122_3344_5566_7788n); // RBX
    const text = Buffer.alloc(8);
    text.writeBigUInt64LE(0x1122_3344_5566_7788n);
    expect(hostReads(guest, page).includes(text)).toBe(false);
  });
});
