// What one instruction costs, event by event, from VMRUN to the guest's HLT. A plain or SEV guest leaves at the instruction; an
// SEV-ES guest takes #VC with the exit code as error code and leaves by VMGEXIT, an automatic exit (APM vol. 2, 15.35.4 to 15.35.6).

import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import type { TraceEvent } from '../../src/cbit.ts';
import { guestNames } from '../../tools/guest-manifest.ts';
import { kernel } from './runs.ts';
import { assembleGuest, type Served, smallGuest } from './small-guest.ts';
import { eventsOf, linesOf } from './trace-text.ts';

const unencrypted = ['none', 'sev'] as const;
const halt = ['VMRUN', '#VMEXIT HLT 0h 0h', 'end: halted'];

const cpuid: Served = { instruction: 'cpuid', exitCode: ExitCode.CPUID, sends: ['rax', 'rcx'], takes: ['rax', 'rbx', 'rcx', 'rdx'] };
const moveToCr4: Served = {
  instruction: 'mov cr4, rax',
  exitCode: ExitCode.CR0_WRITE + 4,
  sends: ['rax'],
  takes: [],
  thenExecutes: 'mov cr4, rax',
};
const moveFromCr4: Served = { instruction: 'mov rax, cr4', exitCode: ExitCode.CR0_READ + 4, sends: [], takes: ['rax'] };

type Case = {
  readonly name: string;
  readonly before: string;
  readonly served: Served;
  /** What a guest without SEV-ES leaves with. */
  readonly exit: (nextRip: number) => string;
  /** Between vector 29 and the VMRUN after it. */
  readonly roundTrip: readonly string[];
};

const cases: readonly Case[] = [
  {
    name: 'CPUID',
    before: 'mov eax, 0x80000000\n xor ecx, ecx',
    served: cpuid,
    exit: () => 'CPUID 0h 0h',
    roundTrip: [
      'GHCB <- rax=80000000h rcx=0h code=72h info1=0h info2=0h',
      'GHCB -> rax=8000001fh rcx=444d4163h rdx=69746e65h rbx=68747541h info1=0h info2=0h',
    ],
  },
  {
    name: 'RDMSR',
    before: 'mov ecx, 0x1b',
    served: { instruction: 'rdmsr', exitCode: ExitCode.MSR, sends: ['rcx'], takes: ['rax', 'rdx'] },
    exit: () => 'MSR 0h 0h',
    roundTrip: ['GHCB <- rcx=1bh code=7ch info1=0h info2=0h', 'GHCB -> rax=fee00900h rdx=0h info1=0h info2=0h'],
  },
  {
    name: 'WRMSR',
    before: 'mov ecx, 0x200\n mov eax, 6\n xor edx, edx',
    served: { instruction: 'wrmsr', exitCode: ExitCode.MSR, info1: 1, sends: ['rax', 'rcx', 'rdx'], takes: [] },
    exit: () => 'MSR 1h 0h',
    roundTrip: ['GHCB <- rax=6h rcx=200h rdx=0h code=7ch info1=1h info2=0h', 'GHCB -> info1=0h info2=0h'],
  },
  {
    name: 'OUT',
    before: 'mov eax, 0x41',
    served: { instruction: 'out 0xe9, al', exitCode: ExitCode.IOIO, info1: 0xe9_0210, sends: ['rax'], takes: [] },
    exit: (next) => `IOIO e90210h ${next.toString(16)}h`,
    roundTrip: ['GHCB <- rax=41h code=7bh info1=e90210h info2=0h', 'GHCB -> info1=0h info2=0h'],
  },
  {
    name: 'IN',
    before: 'mov dx, 0x1234',
    served: { instruction: 'in eax, dx', exitCode: ExitCode.IOIO, info1: 0x1234_0241, sends: [], takes: ['rax'] },
    exit: (next) => `IOIO 12340241h ${next.toString(16)}h`,
    roundTrip: ['GHCB <- code=7bh info1=12340241h info2=0h', 'GHCB -> rax=ffffffffh info1=0h info2=0h'],
  },
];

const code = ({ exitCode }: Served): string => `${exitCode.toString(16)}h`;
const roundTrip = (name: string, served: Served, ghcb: readonly string[]): string[] => [
  'VMRUN',
  `#VC ${name}`,
  `vector 29, error code ${code(served)}`,
  '#VMEXIT VMGEXIT 0h 0h',
  ...ghcb,
];

describe.each(cases)('one $name', ({ before, served, exit, roundTrip: ghcb }) => {
  const { bytes, labels } = assembleGuest(`${before}\n here: ${served.instruction}\n behind: nop`, [served]);
  const address = labels.get('here');
  const next = Number(labels.get('behind'));
  const name = exit(0).split(' ')[0] ?? '';

  it.each(unencrypted)('under %s leaves before the instruction and comes back behind it', (technology) => {
    expect(linesOf(bytes, { technology })).toEqual(['VMRUN', `#VMEXIT ${exit(next)}`, ...halt]);
  });

  it('under SEV-ES is #VC, VMGEXIT, VMRUN', () => {
    expect(linesOf(bytes, { technology: 'sev-es' })).toEqual([...roundTrip(name, served, ghcb), ...halt]);
  });

  it('under SEV-ES is #VC with RIP at the instruction, which is not retired', () => {
    const events = eventsOf(bytes, { technology: 'sev-es' });
    const vc = events.find((event) => event.kind === 'vc');
    expect(vc).toMatchObject({ rip: address });
    expect(events.find((event) => event.kind === 'exception')).toMatchObject({ vector: 29, rip: address, at: vc?.at });
  });
});

describe('one MOV to CR4', () => {
  const image = smallGuest('mov eax, 0x6a0\n mov cr4, rax');

  it.each(unencrypted)('under %s is nobody else’s business', (technology) => {
    expect(linesOf(image, { technology })).toEqual(halt);
  });

  it('under SEV-ES is a write trap: an automatic exit behind the instruction, with the new value', () => {
    expect(linesOf(image, { technology: 'sev-es' })).toEqual(['VMRUN', '#VMEXIT CR4_WRITE_TRAP 6a0h 0h', ...halt]);
  });

  it('under SEV-ES with a value that the processor refuses is #GP, and no trap', () => {
    // Bit 31 is reserved. Nobody has a handler for #GP here: double fault, shutdown.
    const lines = linesOf(smallGuest('mov eax, 0x80000620\n mov cr4, rax', [cpuid]), { technology: 'sev-es' });
    expect(lines.slice(0, 2)).toEqual(['VMRUN', 'vector 13, error code 0h']);
    expect(lines.slice(-2)).toEqual(['#VMEXIT SHUTDOWN 0h 0h', 'end: shutdown']);
  });
});

describe('with --intercept cr', () => {
  const options = { intercepts: ['cr'] };
  const twice = smallGuest('mov eax, 0x6a0\n mov cr4, rax\n mov eax, 0x620\n mov cr4, rax', [moveToCr4]);
  // The intercepts of an SEV-ES guest are armed by the first VMGEXIT that names a GHCB page.
  const armed = (instructions: string): Uint8Array =>
    smallGuest(`mov eax, 0x80000000\n xor ecx, ecx\n cpuid\n${instructions}`, [cpuid, moveToCr4, moveFromCr4]);
  const arming = roundTrip('CPUID', cpuid, cases[0]?.roundTrip ?? []);
  const written = (value: string): string[] => [
    ...roundTrip('CR4_WRITE', moveToCr4, [`GHCB <- rax=${value} code=14h info1=0h info2=0h`, 'GHCB -> info1=0h info2=0h']),
    'VMRUN',
    `#VMEXIT CR4_WRITE_TRAP ${value} 0h`,
  ];

  it.each(unencrypted)('a MOV to CR4 under %s leaves before the write and is stepped over, each time', (technology) => {
    const stepped = ['VMRUN', '#VMEXIT CR4_WRITE 8000000000000000h 0h', 'VMRUN', '#VMEXIT INTR 0h 0h'];
    expect(linesOf(twice, { technology, ...options })).toEqual([...stepped, ...stepped, ...halt]);
  });

  it('a MOV to CR4 under SEV-ES is only trapped as long as no GHCB page was named', () => {
    const traps = ['6a0h', '620h'].flatMap((value) => ['VMRUN', `#VMEXIT CR4_WRITE_TRAP ${value} 0h`]);
    expect(linesOf(twice, { technology: 'sev-es', ...options })).toEqual([...traps, ...halt]);
  });

  it('a MOV to CR4 under SEV-ES is then #VC, an event of ours, and the trap of the handler’s own write, each time', () => {
    const image = armed('mov eax, 0x6a0\n mov cr4, rax\n mov eax, 0x620\n mov cr4, rax');
    expect(linesOf(image, { technology: 'sev-es', ...options })).toEqual([...arming, ...written('6a0h'), ...written('620h'), ...halt]);
  });

  it('a MOV from CR4 under SEV-ES is #VC, answered with what the write traps told', () => {
    const read = roundTrip('CR4_READ', moveFromCr4, ['GHCB <- code=4h info1=0h info2=0h', 'GHCB -> rax=6a0h info1=0h info2=0h']);
    const image = armed('mov eax, 0x6a0\n mov cr4, rax\n xor eax, eax\n mov rax, cr4');
    expect(linesOf(image, { technology: 'sev-es', ...options })).toEqual([...arming, ...written('6a0h'), ...read, ...halt]);
  });

  it('MOV to and from CR2 and CR3 are never intercepted', () => {
    const image = armed('mov rax, cr3\n mov cr3, rax\n mov rax, cr2\n mov cr2, rax');
    expect(linesOf(image, { technology: 'sev-es', ...options })).toEqual([...arming, ...halt]);
  });
});

describe('in a committed kernel', () => {
  const kernels = guestNames().filter((name) => !name.startsWith('bench-'));
  const trace = (name: string): TraceEvent[] => eventsOf(kernel(name).bytes, { intercepts: name === 'cr-vc' ? ['cr'] : [] });

  it.each(kernels)('%s: each #VC and each VMGEXIT is followed by what must follow it', (name) => {
    const events = trace(name);
    const after = (kind: TraceEvent['kind'], test: (event: TraceEvent) => boolean): TraceEvent[][] =>
      events.flatMap((event, i) => (event.kind === kind && test(event) ? [events.slice(i, i + 4)] : []));
    const vcs = after('vc', () => true);
    expect(vcs.length).toBeGreaterThan(0);
    for (const [vc, delivered] of vcs) {
      expect(delivered).toMatchObject({ kind: 'exception', vector: 29, errorCode: vc?.kind === 'vc' ? vc.exitCode : null });
    }
    const vmgexits = after('exit', (event) => event.kind === 'exit' && event.exitCode === ExitCode.VMGEXIT);
    expect(vmgexits.length).toBeGreaterThanOrEqual(vcs.length);
    // The last one may be the write to the test device, which ends the run.
    for (const [, request, answer, vmrun] of vmgexits) {
      expect(request?.kind).toMatch(/^ghcb/);
      expect(answer).toMatchObject({ kind: request?.kind, from: 'hypervisor' });
      expect(vmrun?.kind).toMatch(/^(vmrun|end)$/);
    }
  });
});
