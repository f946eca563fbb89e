// guests/early-boot: from the reset vector to the first line, and what it does about a hypervisor that lies about the C-bit.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type GuestOptions, launch, run, type RunResult, type TraceEvent, type VirtualMachine } from '../../src/cbit.ts';
import { spa } from '../../src/util/address.ts';
import { romNames, romPath, root } from '../../tools/guest-manifest.ts';
import { technologies } from '../system/runs.ts';

const options = (technology: (typeof technologies)[number]): GuestOptions => ({
  bios: { name: 'early-boot', bytes: new Uint8Array(readFileSync(join(root, romPath('early-boot')))) },
  technology,
  maxInstructions: 1_000_000,
});

function boot(technology: (typeof technologies)[number], more: Partial<GuestOptions> = {}) {
  const events: TraceEvent[] = [];
  const result = run({ ...options(technology), ...more, onEvent: (event) => events.push(event) });
  return { ...result, events };
}

it('is among the guests that are ROM images', () => {
  expect(romNames()).toContain('early-boot');
});

describe.each(technologies)('early-boot under %s', (technology) => {
  it.each(['naples', 'milan', 'turin'])('passes on %s', (cpu) => {
    const { outcome, value, serial } = boot(technology, { cpu });
    expect(serial).not.toContain('FAIL');
    expect(serial).toMatch(/SUMMARY: [1-9] tests, 0 failed\n$/);
    expect(serial).toMatch(new RegExp(`^${technology}: 64-bit mode`));
    expect({ outcome: outcome.kind, value }).toEqual({ outcome: 'ended', value: 0 });
  });

  it('takes no exception but #VC under SEV-ES', () => {
    const vectors = boot(technology).events.flatMap((event) => (event.kind === 'exception' ? [event.vector] : []));
    expect([...new Set(vectors)]).toEqual(technology === 'sev-es' ? [29] : []);
  });
});

describe('early-boot under SEV-ES', () => {
  const { events } = boot('sev-es');
  const first = (found: (event: TraceEvent) => boolean): number => events.findIndex(found);
  const firstPage = first((event) => event.kind === 'ghcb');

  it('asks by the MSR protocol for the SEV information, then for EBX of CPUID Fn8000_001F, and nothing else', () => {
    const spoken = events.flatMap((event) => (event.kind === 'ghcb-msr' ? [[event.from, event.value]] : []));
    expect(spoken).toEqual([
      ['guest', 0x002n],
      ['hypervisor', expect.any(BigInt)],
      ['guest', 0x8000_001f_4000_0004n],
      ['hypervisor', expect.any(BigInt)],
    ]);
    expect(first((event) => event.kind === 'ghcb-msr')).toBeLessThan(firstPage);
  });

  it('takes no #VC before that, and its first one is a port access that goes through the GHCB page', () => {
    const firstVc = first((event) => event.kind === 'vc');
    expect(events[firstVc]).toMatchObject({ exitCode: 0x7b });
    expect(events.slice(firstVc, firstPage).map(({ kind }) => kind)).toEqual(['vc', 'exception', 'exit']);
    expect(events[firstPage]).toMatchObject({ from: 'guest', gpa: 0x1_9000, fields: { swExitCode: 0x7bn } });
    expect(events.slice(0, firstVc).filter(({ kind }) => kind === 'ghcb-msr')).toHaveLength(4);
  });

  it('reaches long mode by write traps alone: CR0 (PE), CR4 (PAE), EFER (LME), CR0 (PG)', () => {
    const exits = events.slice(0, firstPage).flatMap((event) => (event.kind === 'exit' ? [event.exitCode] : []));
    const VMGEXIT = 0x403;
    expect(exits).toEqual([0x90, VMGEXIT, VMGEXIT, 0x94, 0x8f, 0x90, VMGEXIT]);
  });
});

/** The hypervisor's answers in the GHCB MSR, changed before the guest sees them. */
function deceived(change: (value: bigint) => bigint, prepare: (vm: VirtualMachine) => void = () => {}): RunResult {
  const vm = launch(options('sev-es'));
  try {
    prepare(vm);
    const { vmcb } = vm.vcpu;
    let last = vmcb.ghcb;
    for (;;) {
      const over = vm.advance(1);
      const { ghcb } = vmcb;
      // A response's code is the request's plus one or minus one (001 to 002): what the guest writes is none of ours.
      if (ghcb !== last && [1n, 5n].includes(ghcb & 0xfffn)) vmcb.ghcb = change(ghcb);
      last = vmcb.ghcb;
      if (over) return vm.result();
    }
  } finally {
    vm.dispose();
  }
}

const general = { outcome: { kind: 'terminated', set: 0, code: 0 }, vc: {} };
const isCpuid = (value: bigint): boolean => (value & 0xfffn) === 5n;

/** Both answers name another bit. */
const lie = (bit: number) => (value: bigint) =>
  isCpuid(value) ? (value & ~(0x3fn << 32n)) | (BigInt(bit) << 32n) : (value & ~(0xffn << 24n)) | (BigInt(bit) << 24n);

/** Guest physical memory once more at 4 GiB, so that bit 32 set or clear makes no difference. */
function alias({ vcpu, machine }: VirtualMachine): void {
  const { memory } = machine.host;
  const pointers = memory.page(spa(Number(memory.page(spa(Number(vcpu.vmcb.nCr3))).u64(0) & 0xffff_ffff_f000n)));
  for (let i = 0; i < 4; i++) pointers.setU64(8 * (4 + i), pointers.u64(8 * i));
}

describe('early-boot without SEV', () => {
  it('takes a #GP at RDMSR of SEV_STATUS for an answer', () => {
    const vm = launch(options('none'));
    try {
      const { save, vmcb } = vm.vcpu;
      const next = new Uint8Array(2);
      const atRdmsr = (): boolean =>
        (save.cr0 & 1n) !== 0n && vm.vcpu.readMemory(save.rip, next) ? next[0] === 0x0f && next[1] === 0x32 : false;
      while (!atRdmsr()) expect(vm.advance(1)).toBe(false);
      vmcb.eventInj = 0x8000_0b0dn; // our processor has the MSR: as one without would do
      while (!vm.advance(100_000));
      expect(vm.result()).toMatchObject({ outcome: { kind: 'ended' }, value: 0 });
    } finally {
      vm.dispose();
    }
  });
});

describe('early-boot and a hypervisor that lies', () => {
  it('works with one that does not', () => {
    expect(deceived((value) => value, alias)).toMatchObject({ outcome: { kind: 'ended' }, value: 0 });
  });

  it('asks for termination if the two answers about the C-bit differ', () => {
    expect(deceived((value) => (isCpuid(value) ? value ^ (1n << 32n) : value))).toMatchObject(general);
    expect(deceived((value) => (isCpuid(value) ? value : value ^ (1n << 24n)))).toMatchObject(general);
  });

  it('asks for termination if what it wrote with paging off reads otherwise through the C-bit it was told', () => {
    expect(deceived(lie(32), alias)).toMatchObject(general);
  });

  it('gets no further than its page tables with a C-bit that leads to no memory', () => {
    expect(deceived(lie(32))).toMatchObject({ outcome: { kind: 'shutdown' }, vc: { NPF: 3 } }); // and no IDT for its #VC
  });

  it('asks for termination if the C-bit cannot be one: below 32, or none', () => {
    for (const bit of [0, 12, 31]) expect(deceived(lie(bit))).toMatchObject(general);
  });

  it('asks for termination if a response is not the one to its request', () => {
    expect(deceived((value) => (isCpuid(value) ? value ^ (1n << 31n) : value))).toMatchObject(general);
    expect(deceived((value) => (isCpuid(value) ? value | (1n << 12n) : value))).toMatchObject(general);
    expect(deceived((value) => (isCpuid(value) ? value : value ^ 4n))).toMatchObject(general);
  });

  it.each([
    ['least 3, most 4', 0x0004_0003n],
    ['most 0', 0n],
    ['least 2, most 1', 0x0001_0002n],
  ])('asks for termination, reason 1, if the versions are none of its own: %s', (_name, versions) => {
    const change = (value: bigint): bigint => (isCpuid(value) ? value : (value & 0xffff_ffffn) | (versions << 32n));
    expect(deceived(change)).toMatchObject({ outcome: { kind: 'terminated', set: 0, code: 1 }, vc: {} });
  });

  it.each([
    ['version 1 alone', 0x0001_0001n],
    ['a newer one that still speaks version 2', 0x0007_0002n],
  ])('speaks with %s', (_name, versions) => {
    const change = (value: bigint): bigint => (isCpuid(value) ? value : (value & 0xffff_ffffn) | (versions << 32n));
    expect(deceived(change)).toMatchObject({ outcome: { kind: 'ended' }, value: 0 });
  });
});
