// #VC that no instruction caused: a hypervisor injects vector 29 with an exit code of its choice (CVE-2024-25742). The handler of guests/lib must see
// that the bytes at RIP are no instruction that has this exit code, and end the guest; in ring 3 the program gets #GP.

import { afterEach, describe, expect, it } from 'vitest';
import { ExitCode, exitName } from '../../src/arch/exit-code.ts';
import { Vector } from '../../src/arch/exception.ts';
import type { GuestOptions, TraceEvent } from '../../src/cbit.ts';
import { parseElf } from '../../src/hypervisor/images/elf.ts';
import { RandomSource } from '../../src/util/random.ts';
import { distrusted, type Ended, MISMATCH, Victim } from './hostile-hypervisor.ts';
import { kernel } from './runs.ts';

const DR7 = 7;
const DR7_READ = ExitCode.DR0_READ + DR7;
const DR7_WRITE = ExitCode.DR0_WRITE + DR7;
/** Exit codes that the handler serves, those together whose instructions have the most bytes in common. */
const families: readonly (readonly number[])[] = [
  [ExitCode.CPUID, ExitCode.WBINVD, ExitCode.IOIO],
  [ExitCode.MSR, ExitCode.RDTSC, ExitCode.RDPMC],
  [ExitCode.VMMCALL, ExitCode.RDTSCP, ExitCode.MONITOR, ExitCode.MWAIT],
  [DR7_READ, DR7_WRITE, ExitCode.CR0_READ, ExitCode.CR0_READ + 4, ExitCode.CR0_WRITE, ExitCode.CR0_WRITE + 8],
  [ExitCode.NPF],
];
const served = families.flat();
/** And some that it does not: INVD, whose instruction would throw memory away, VMGEXIT, VMRUN, a nested page fault of SEV-SNP. */
const unserved: readonly number[] = [ExitCode.INVD, ExitCode.VMGEXIT, ExitCode.VMRUN, 0x404, 0xffff_ffff];

let victim: Victim | null = null;
afterEach(() => {
  victim?.dispose();
  victim = null;
});

function begin(name: string, options: Partial<GuestOptions> = {}): Victim {
  victim?.dispose();
  victim = new Victim(name, options);
  return victim;
}

/** Runs a guest up to an instruction, by the number of those before it, and injects a #VC there. */
function inject({ name, options, at, rip }: Site, exitCode: number): Ended {
  const guest = begin(name, options);
  expect(guest.vm.advance(at)).toBe(false);
  expect(BigInt(guest.rip)).toBe(rip);
  guest.vc(exitCode);
  return guest.end();
}

type Site = { readonly name: string; readonly options: Partial<GuestOptions>; readonly at: number; readonly rip: bigint };

const known = new Map<string, TraceEvent[]>();
/** What happened to a guest that nobody attacks. */
function eventsOf(name: string, options: Partial<GuestOptions> = {}): TraceEvent[] {
  const key = `${name} ${JSON.stringify(options)}`;
  const events = known.get(key) ?? [];
  if (!known.has(key)) begin(name, { ...options, onEvent: (event) => events.push(event) }).end();
  known.set(key, events);
  return events;
}

const vcs = (name: string, code: number): readonly (TraceEvent & { readonly kind: 'vc' })[] =>
  eventsOf(name).flatMap((event) => (event.kind === 'vc' && event.exitCode === code ? [event] : []));

/** Before an instruction of a kernel that has an exit code, once the kernel can print. */
function siteOf(name: string, exitCode: number, instruction: string, options: Partial<GuestOptions> = {}): Site {
  const events = eventsOf(name, options);
  const printed = events.findIndex((event) => event.kind === 'vc' && event.instruction === 'OUT') + 80;
  const found = events.find(
    (event, n) => n > printed && event.kind === 'vc' && event.exitCode === exitCode && event.instruction.startsWith(instruction),
  );
  if (found?.kind !== 'vc') throw new Error(`${name} has no #VC ${exitName(exitCode)} ${instruction}`);
  return { name, options, at: found.at, rip: found.rip };
}

/** Nobody believed it: a request to be ended, or the report of an event that is not served. */
function refused({ outcome, serial }: Ended): void {
  if (outcome.kind === 'stopped') expect(outcome.reason).toMatch(/unsupported event/);
  else expect(outcome).toMatchObject(distrusted.outcome);
  expect(serial).toMatch(/FAIL: #VC .*\n$/);
}

const withTime = { intercepts: ['rdtsc', 'rdtscp'] };
/** An instruction for each exit code. */
// biome-ignore format: a table
const instructions: readonly (readonly [mnemonic: string, exitCode: number, guest: string, options: Partial<GuestOptions>])[] = [
  ['CPUID',   ExitCode.CPUID,   'cpuid', {}],
  ['RDMSR',   ExitCode.MSR,     'vmmcall', {}],
  ['WRMSR',   ExitCode.MSR,     'vmmcall', {}],
  ['IN',      ExitCode.IOIO,    'pio', {}],
  ['OUT',     ExitCode.IOIO,    'pio', {}],
  ['RDTSC',   ExitCode.RDTSC,   'rdtsc', withTime],
  ['RDTSCP',  ExitCode.RDTSCP,  'rdtsc', withTime],
  ['RDPMC',   ExitCode.RDPMC,   'rdtsc', {}],
  ['VMMCALL', ExitCode.VMMCALL, 'vmmcall', {}],
  ['MONITOR', ExitCode.MONITOR, 'mwait', {}],
  ['MWAIT',   ExitCode.MWAIT,   'mwait', {}],
  ['MOV',     DR7_READ,         'dr7', {}],
  ['MOV',     DR7_WRITE,        'dr7', {}],
  ['MOV',     ExitCode.NPF,     'mmio', {}],
];

describe('a #VC with another exit code than the instruction at RIP has', () => {
  it.each(instructions)('is not believed: %s', (mnemonic, own, name, options) => {
    const site = siteOf(name, own, mnemonic, options);
    const codes = families.flatMap((family) => (family.includes(own) ? family : family.slice(0, 1)));
    for (const code of codes) if (code !== own) refused(inject(site, code));
  });

  it('is not believed, whatever it is', () => {
    const site = siteOf('cpuid', ExitCode.CPUID, 'CPUID');
    for (const code of [...served, ...unserved]) if (code !== ExitCode.CPUID) refused(inject(site, code));
  });

  it('is served where it is the one that the instruction has', () => {
    for (const [mnemonic, own, name, options] of instructions) {
      const { serial } = inject(siteOf(name, own, mnemonic, options), own);
      expect(serial).not.toContain('FAIL: #VC');
    }
  });

  it('is not believed at any other instruction, be it in the middle of a #VC', () => {
    const events = eventsOf('hello').filter(({ kind }) => kind === 'vc');
    const [first, last] = [events[40]!.at, events.at(-1)!.at];
    const random = new RandomSource('hostile').stream('places');
    const { loads } = parseElf('hello', kernel('hello').bytes);
    for (let n = 0; n < 60; n++) {
      const guest = begin('hello');
      guest.vm.advance(first + random.below(last - first));
      const at = BigInt(guest.rip);
      const { bytes, start } = loads.find((load) => at >= load.start && at < load.start + load.size)!;
      const code = served[random.below(served.length)]!;
      const [opcode = 0] = bytes.subarray(Number(at - start));
      if (code === ExitCode.IOIO && opcode >= 0xec) continue; // may be IN or OUT
      guest.vc(code);
      const { outcome } = guest.end();
      expect(outcome.kind, `${exitName(code)} at 0x${at.toString(16)}`).toBeOneOf(['terminated', 'stopped']);
    }
  });

  it('between SYSCALL and the switch of stacks finds a stack of the kernel, and ends the guest', () => {
    const { at } = vcs('user', ExitCode.CPUID).at(-1)!;
    for (const code of [ExitCode.CPUID, ExitCode.NPF, ExitCode.MSR, DR7_WRITE]) {
      const guest = begin('user');
      guest.vm.advance(at);
      expect(guest.cpl).toBe(3);
      while (guest.cpl === 3) guest.vm.advance(1); // into the handler
      while (guest.cpl === 0) guest.vm.advance(1); // back, to SYSCALL
      while (guest.cpl === 3) guest.vm.advance(1);
      guest.vc(code);
      refused(guest.end());
    }
  });

  it('at each VMRUN ends the guest, wherever it was', () => {
    for (const code of [ExitCode.CPUID, ExitCode.NPF, ExitCode.INVD]) {
      const guest = begin('hello');
      guest.vm.advance(60_000);
      guest.meddle(() => guest.vc(code));
      const { outcome, instructions: executed } = guest.end();
      expect(outcome.kind).toBeOneOf(['terminated', 'stopped', 'ended']);
      expect(outcome).not.toMatchObject({ value: 0 });
      expect(executed).toBeLessThan(200_000);
    }
  });

  it('DR7’s at a move of another debug register is not believed', () => {
    const { loads } = parseElf('dr7', kernel('dr7').bytes);
    const bytesAt = (address: number): string => {
      const { bytes, start } = loads.find((load) => BigInt(address) >= load.start && BigInt(address) < load.start + load.size)!;
      return Buffer.from(bytes.subarray(address - Number(start)).subarray(0, 3)).toString('hex');
    };
    const guest = begin('dr7');
    guest.vm.advance(vcs('dr7', DR7_WRITE).at(-2)!.at - 8); // a breakpoint is set up, address first
    while (!/^0f23[c-e]/.test(bytesAt(guest.rip))) expect(guest.vm.advance(1)).toBe(false);
    const site = { name: 'dr7', options: {}, at: guest.vm.consumed, rip: BigInt(guest.rip) };
    for (const code of [DR7_WRITE, DR7_READ, ExitCode.CR0_WRITE]) {
      const ended = inject(site, code);
      refused(ended);
      expect(ended.serial).toContain(MISMATCH);
    }
  });
});

describe('in ring 3', () => {
  /** For IN all of them, for the others the first two. */
  const ofPrograms = [ExitCode.IOIO, ExitCode.NPF, ExitCode.CPUID, ExitCode.MSR, DR7_WRITE, ExitCode.CR0_READ];
  /** Instructions of the program that the processor refuses, each with a test of the kernel's that expects it. */
  const forbidden = (vector: number): readonly Site[] =>
    eventsOf('user').flatMap((event) =>
      event.kind === 'exception' && event.vector === vector ? [{ name: 'user', options: {}, at: event.at, rip: event.rip }] : [],
    );

  it('a #VC for an instruction that the processor would have refused is #GP(0)', () => {
    const sites = forbidden(Vector.GP);
    expect(sites.length).toBe(6); // HLT, RDMSR, IN, MOV from CR0, and INS and OUTS without IOPL
    for (const site of sites)
      for (const code of ofPrograms) expect(inject(site, code)).toMatchObject({ outcome: { kind: 'ended', value: 0 } });
  });

  it('a device is not reached: #GP(0)', () => {
    const [read, write] = forbidden(Vector.PF);
    for (const site of [read!, write!]) {
      const { serial, outcome } = inject(site, ExitCode.NPF);
      expect(outcome).toEqual({ kind: 'ended', value: 1 });
      expect(serial.match(/FAIL: .*/g)).toHaveLength(1); // the kernel expects #PF, of which the program sees nothing now
      expect(serial).toMatch(/FAIL: (reading the kernel|writing a read-only)/);
    }
  });

  it('INS and OUTS get no more than the program itself could reach', () => {
    // With IOPL 3 the processor lets them through to the intercept: what is refused then the handler refuses.
    const events = eventsOf('user').filter((event) => event.kind === 'vc' && /^(INS|OUTS)/.test(event.instruction));
    expect(events).toHaveLength(6);
    expect(begin('user').end().outcome).toEqual({ kind: 'ended', value: 0 });
  });

  it('a #VC with another exit code than the instruction has is #GP(0)', () => {
    const { at, rip } = vcs('user', ExitCode.CPUID).at(-1)!;
    for (const code of [...served, ...unserved]) {
      if (code === ExitCode.CPUID) continue;
      const { serial, outcome } = inject({ name: 'user', options: {}, at, rip }, code);
      expect(outcome).toEqual({ kind: 'ended', value: 1 });
      expect(serial).toContain('FAIL: unexpected exception 13, error code 0\n');
    }
  });
});

describe('INT 80h as an external interrupt', () => {
  it('is no system call, neither in ring 0 nor in ring 3', () => {
    for (const at of [200_000, vcs('user', ExitCode.CPUID).at(-1)!.at]) {
      const guest = begin('user');
      guest.vm.advance(at);
      guest.interrupt(0x80);
      const { serial, outcome } = guest.end();
      expect(outcome).toEqual({ kind: 'ended', value: 1 });
      expect(serial).toContain('FAIL: a system call that nobody made\n');
    }
  });
});
