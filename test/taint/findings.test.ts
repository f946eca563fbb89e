// What is found, on guests of a few instructions: private data that goes out, and answers that steer.

import { afterEach, describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { GhcbInfo } from '../../src/arch/ghcb.ts';
import { Msr } from '../../src/arch/msr.ts';
import { launch, type VirtualMachine } from '../../src/cbit.ts';
import { type Secret, Taint } from '../../src/taint/taint.ts';
import { type Served, SHARED, smallGuest, MEMORY } from '../system/small-guest.ts';

let vm: VirtualMachine | null = null;
afterEach(() => {
  vm?.dispose();
  vm = null;
});

type Options = {
  readonly served?: readonly Served[];
  readonly secrets?: readonly Secret[];
  readonly before?: (vm: VirtualMachine) => void;
};

function found(code: string, { served = [], secrets = [], before }: Options = {}): string[] {
  vm = launch({
    image: { name: 'small', bytes: smallGuest(code, served) },
    memory: MEMORY,
    technology: 'sev-es',
    haltOk: true,
    tier: 'labels',
    maxInstructions: 100_000,
  });
  const taint = new Taint(vm, secrets);
  while (!vm.advance(1_000_000));
  expect(vm.outcome?.kind).toBe('halted');
  before?.(vm);
  taint.finish();
  return taint.findings.map(({ rule, exit, text }) => `${rule}${exit === '' ? '' : ` (${exit})`}: ${text}`);
}

const cpuid = (sends: Served['sends']): Served => ({
  instruction: 'cpuid',
  exitCode: ExitCode.CPUID,
  sends,
  takes: ['rax', 'rbx', 'rcx', 'rdx'],
});
/** A page that nobody has written, and one of the image's memory. */
const UNTOUCHED = 0x18_0000;

describe('private data is found', () => {
  it('in another shared page', () => {
    expect(found(`rdrand rax\nmov [${SHARED}], rax`)).toEqual([
      'taint-private-to-shared: 8 private bytes were stored to shared memory at guest physical address 0x201000',
    ]);
  });

  it('byte by byte, and through memory and other registers', () => {
    expect(found(`rdseed rax\npush rax\npop rcx\nshr rcx, 56\nmov dword [${SHARED} + 4], ecx`)).toEqual([
      'taint-private-to-shared: 1 private byte was stored to shared memory at guest physical address 0x201004',
    ]);
  });

  it('in a register of the GHCB that the event does not need', () => {
    expect(found('rdrand rbx\nmov eax, 1\nxor ecx, ecx\ncpuid', { served: [cpuid(['rax', 'rcx', 'rbx'])] })).toEqual([
      'taint-private-to-shared (CPUID): 8 private bytes in RBX of the GHCB went out with the event CPUID, which does not ask for them',
    ]);
  });

  it('in the GHCB MSR', () => {
    expect(found(`rdrand rdx\nmov eax, 2\nmov ecx, ${Msr.GHCB}\nwrmsr`)).toEqual([
      'taint-private-to-shared: WRMSR puts 4 private bytes into the GHCB MSR, which the hypervisor reads',
    ]);
  });

  it('where memory was never written: what it decrypts to is nobody else’s', () => {
    expect(found(`mov rax, [${UNTOUCHED}]\nmov [${SHARED}], rax`)).toHaveLength(1);
  });

  it('where a person declares it', () => {
    const code = `mov rax, [${UNTOUCHED}]\nmov qword [${UNTOUCHED}], 5\nmov rax, [${UNTOUCHED}]\nmov [${SHARED}], rax`;
    expect(found(code)).toEqual([]);
    expect(found(`mov rax, [0x100000]\nmov [${SHARED}], rax`, { secrets: [{ gpa: 0x10_0002, length: 3 }] })).toEqual([
      'taint-private-to-shared: 3 private bytes were stored to shared memory at guest physical address 0x201002',
    ]);
  });
});

describe('nothing is found', () => {
  it.each([
    ['of a constant', `mov qword [${SHARED}], 7`],
    ['of what the image brought', `mov rax, [0x100000]\nmov [${SHARED}], rax`],
    ['of a register that was cleared', `rdrand rax\nxor eax, eax\nmov [${SHARED}], rax`],
    ['of what was overwritten before anybody asked', `rdrand rax\nmov [${SHARED}], rax\nmov qword [${SHARED}], 0`],
    ['of what stays private', `rdrand rax\nmov [${UNTOUCHED}], rax`],
  ])('%s', (_name, code) => {
    expect(found(code)).toEqual([]);
  });

  it('of what the event asks for', () => {
    expect(found('rdrand rax\nrdrand rcx\nand eax, 1\nand ecx, 1\ncpuid', { served: [cpuid(['rax', 'rcx'])] })).toEqual([]);
  });

  it('of what a device takes', () => {
    const before = ({ guest }: VirtualMachine): void => void guest.vm.read(BigInt(SHARED), new Uint8Array(8));
    expect(found(`rdrand rax\nmov [${SHARED}], rax`, { before })).toEqual([]);
  });
});

describe('what the hypervisor says steers', () => {
  const from = (what: string) =>
    expect.stringMatching(`depends on ${what}, which came in at 0x[0-9a-f]+ and was compared with nothing since`);
  const shared = 'shared memory at guest physical address 0x201000';

  it('an address', () => {
    expect(found(`mov rax, [${SHARED}]\nmov rcx, [rax*8 + 0x100000]`)).toEqual([from(shared)]);
    expect(found(`mov eax, [${SHARED}]\nimul rax, rax, 24\nadd rax, 0x100000\nmov byte [rax], 0x90`)).toEqual([from(shared)]);
  });

  it('a computed branch', () => {
    const [text] = found(`mov rax, [${SHARED}]\nlea rcx, [rel there]\nadd rcx, rax\njmp rcx\nthere: nop`);
    expect(text).toEqual(from(shared));
    expect(text).toMatch(/^taint-branch/);
    expect(found(`mov rax, [${SHARED}]\nlea rcx, [rel here]\nadd rcx, rax\npush rcx\nret\nhere: nop`)[0]).toMatch(/^taint-branch/);
  });

  it('a count', () => {
    expect(found(`mov rcx, [${SHARED}]\nmov esi, 0x100000\nmov edi, ${UNTOUCHED}\nrep movsb`)).toEqual([
      expect.stringMatching(/^taint-address: a repeated instruction runs as often as the hypervisor says/),
    ]);
  });

  it('by the GHCB MSR, and by a register of the GHCB', () => {
    expect(
      found(`mov eax, 2\nxor edx, edx\nmov ecx, ${Msr.GHCB}\nwrmsr\nvmgexit\nrdmsr\nmov eax, eax\nmov cl, [rax + 0x100000 - 0x33000001]`),
    ).toEqual([from('the GHCB MSR')]);
    const code = 'mov eax, 0\nxor ecx, ecx\ncpuid\nmov eax, eax\nmov cl, [rax + 0x100000]';
    expect(found(code, { served: [cpuid(['rax', 'rcx'])] })).toEqual([from('RAX of the GHCB')]);
  });

  it('after a second look at what was compared', () => {
    const check = `mov rax, [${SHARED}]\ncmp rax, 16\nja skip\n`;
    expect(found(`${check}mov rcx, [rax*8 + 0x100000]\nskip: nop`)).toEqual([]);
    expect(found(`${check}mov rax, [${SHARED}]\nmov rcx, [rax*8 + 0x100000]\nskip: nop`)).toEqual([from(shared)]);
  });

  it('unless it was compared with a bound, in whatever copy', () => {
    expect(found(`mov rax, [${SHARED}]\npush rax\ncmp rax, 16\nja skip\npop rcx\nmov rcx, [rcx*8 + 0x100000]\nskip: nop`)).toEqual([]);
    expect(found(`mov rax, [${SHARED}]\nmov ecx, 16\ncmp rax, rcx\ncmova rax, rcx\nmov rcx, [rax*8 + 0x100000]`)).toEqual([]);
    expect(found(`mov rax, [${SHARED}]\ncmp rax, 0\njne skip\nmov rcx, [rax*8 + 0x100000]\nskip: nop`)).toEqual([]);
  });

  it('also if it was only found to differ from something', () => {
    expect(found(`mov rax, [${SHARED}]\ncmp rax, 5\nje skip\nmov rcx, [rax*8 + 0x100000]\nskip: nop`)).toEqual([from(shared)]);
  });

  it('unless few bits of it are left', () => {
    expect(found(`mov rax, [${SHARED}]\nand eax, 15\nmov rcx, [rax*8 + 0x100000]`)).toEqual([]);
    expect(found(`movzx eax, byte [${SHARED}]\nshl eax, 4\nadd rax, 0x100000\nmov rcx, [rax]`)).toEqual([]);
    expect(found(`mov rax, [${SHARED}]\nxor edx, edx\nmov ecx, 10\ndiv rcx\nmov rcx, [rdx + 0x100000]`)).toEqual([]);
    expect(found(`movzx eax, word [${SHARED}]\nmov rcx, [rax + 0x100000]`)).toEqual([from(shared)]);
  });
});

describe('a C-bit that the hypervisor told', () => {
  const BOOT = { cBitMask: 0x18, pageTables: 0x40 } as const;
  const vmgexit = (low: number): string => `mov eax, ${low}\nxor edx, edx\nmov ecx, ${Msr.GHCB}\nwrmsr\nvmgexit\n`;
  const read = `mov ecx, ${Msr.GHCB}\nrdmsr\n`;
  const shifted = 'shr eax, 24\nmov ecx, eax\nmov edx, 1\nshl rdx, cl\n';
  const told = `${vmgexit(GhcbInfo.SEV_INFORMATION_REQUEST)}${read}${shifted}`;
  /** RDX is the mask: into the entry of the first 2 MiB. */
  const made = `mov rbx, [rdi + ${BOOT.pageTables}]\nmov rsi, [rbx + 0x2000]\nor rsi, rdx\nmov [rbx + 0x2000], rsi\n`;
  const load = 'mov rax, cr3\nmov cr3, rax\n';
  const keep = (number: string): string => `${number}\nmov [${UNTOUCHED}], r9\n`;
  const look = `cmp [${UNTOUCHED}], r9\njne wrong\n`;
  const next = vmgexit(GhcbInfo.HYPERVISOR_FEATURES_REQUEST);
  const end = 'wrong: nop';
  const believed = [
    expect.stringMatching(/^cbit-unverified: page tables take effect whose C-bit is where .+ said at 0x[0-9a-f]+, and nothing private/),
  ];

  it('is believed without a witness', () => {
    expect(found(`${told}${made}${load}${next}${end}`)).toEqual(believed);
    expect(found(`${told}${made}${load}${end}`)).toEqual(believed);
  });

  it('is proven by a random number that is found again behind the new tables', () => {
    expect(found(`${told}${made}${keep('rdrand r9')}${load}${look}${next}${load}${next}${end}`)).toEqual([]);
  });

  it('is not proven by a number that the hypervisor knows, or by a look before the tables take effect or after the next VMGEXIT', () => {
    expect(found(`${told}${made}${keep('mov r9, 0x123456789abcdef0')}${load}${look}${next}${end}`)).toEqual(believed);
    expect(found(`${told}${made}${keep('rdrand r9')}${look}${load}${next}${end}`)).toEqual(believed);
    expect(found(`${told}${made}${keep('rdrand r9')}${load}${next}${look}${end}`)).toEqual(believed);
  });

  it('comes by CPUID, too, through the page and through the MSR', () => {
    const leaf = 'mov eax, 0x8000001f\nxor ecx, ecx\ncpuid\nand ebx, 0x3f\nmov ecx, ebx\nmov edx, 1\nshl rdx, cl\n';
    const served = [cpuid(['rax', 'rcx'])];
    expect(found(`${leaf}${made}${load}${end}`, { served })).toEqual(believed);
    expect(found(`${leaf}${made}${keep('rdrand r9')}${load}${look}${end}`, { served })).toEqual([]);
    const ebx = `mov edx, 0x8000001f\nmov eax, 0x40000004\nmov ecx, ${Msr.GHCB}\nwrmsr\nvmgexit\nrdmsr\n`;
    expect(found(`${ebx}and edx, 0x3f\nmov ecx, edx\nmov edx, 1\nshl rdx, cl\n${made}${load}${end}`)).toEqual(believed);
  });

  it('is no matter to who has his own', () => {
    expect(found(`${told}mov rdx, [rdi + ${BOOT.cBitMask}]\n${made}${load}${next}${end}`)).toEqual([]);
  });
});

describe('labels and snapshots', () => {
  it('go together', () => {
    vm = launch({
      image: { name: 'small', bytes: smallGuest(`rdrand rax\nmov ecx, 1000\nwait: dec ecx\njnz wait\nmov [${SHARED}], rax`) },
      memory: MEMORY,
      technology: 'sev-es',
      haltOk: true,
      tier: 'labels',
    });
    const taint = new Taint(vm);
    vm.capture('taint', taint);
    vm.advance(300);
    const snapshot = vm.snapshot();
    const ends = [0, 1].map(() => {
      while (!vm?.advance(1_000_000));
      taint.finish();
      const { findings } = taint;
      vm.restore(snapshot);
      expect(taint.findings).toEqual([]);
      return findings;
    });
    expect(ends[0]).toHaveLength(1);
    expect(ends[1]).toEqual(ends[0]);
  });
});
