import { describe, expect, it } from 'vitest';
import { Account, type AccountInput } from '../../src/debug/account.ts';
import { unpainted } from '../../src/debug/canvas.ts';
import { report } from '../../src/debug/json.ts';
import { Tally } from '../../src/debug/tally.ts';
import type { TraceEvent } from '../../src/util/trace.ts';
import { at, cpuidThroughMsr, cpuidThroughPage, ended, launchCommands, out, plainCpuid } from './events.ts';

const input: AccountInput = {
  image: 'guests/hello',
  technology: 'sev-es',
  cpu: 'milan',
  memory: 64 << 20,
  seed: '0',
  instructions: 123_456,
  elements: 0,
  seconds: 0.25,
  status: 0,
  ending: 'the guest ended itself with 0',
  views: null,
  symbols: () => null,
  codeAt: () => null,
  warnings: [],
};

function accountOf(events: readonly TraceEvent[], more: Partial<AccountInput> = {}, width = 100): string {
  const account = new Account();
  for (const event of events) account.note(event);
  return account.render({ ...input, ...more }, width, unpainted);
}

/** The picture only: lines with a lifeline in them, and the names above. */
const chart = (text: string): string[] => text.split('\n').filter((line) => /[│▶◀]/.test(line) || /guest {2,}hardware/.test(line));

describe('the account', () => {
  it('says what ran, how far and how fast', () => {
    expect(accountOf([ended])).toContain('an SEV-ES guest on milan with 64 MiB: 123,456 instructions in 0.25 s');
  });

  it('counts exits, #VC and exceptions by name', () => {
    const text = accountOf([...cpuidThroughPage, out, out, at(1, { kind: 'exception', vector: 13, errorCode: 0, rip: 0n, cr2: null })]);
    expect(text).toMatch(/VMGEXIT +1/);
    expect(text).toMatch(/IOIO +2/);
    expect(text).toMatch(/CPUID +1/);
    expect(text).toMatch(/#GP +1/);
    expect(text).not.toContain('#VC  ');
  });

  it('names the AMD-SP commands, repeated ones counted, and says that anyone can compute the measurement', () => {
    const text = accountOf(launchCommands);
    expect(text).toContain('INIT, LAUNCH_START, LAUNCH_UPDATE_DATA ×2, LAUNCH_MEASURE');
    expect(text).toContain('ab'.repeat(32));
    expect(text.replaceAll(/\s+/g, ' ')).toContain('anyone can compute this value');
  });

  it('does not say so when an owner gave a session', () => {
    const start = at(0, { kind: 'asp', command: 'LAUNCH_START', status: 'SUCCESS', detail: { session: 'given' } });
    expect(accountOf([...launchCommands.filter((event) => event.kind !== 'asp' || event.command !== 'LAUNCH_START'), start])).not.toContain(
      'anyone',
    );
  });

  it('names the status of a command that failed', () => {
    expect(accountOf([at(0, { kind: 'asp', command: 'ACTIVATE', status: 'ASID_OWNED', detail: {} })])).toContain('ACTIVATE (ASID_OWNED)');
  });

  it('draws one CPUID through guest, hardware, GHCB and hypervisor, from the events', () => {
    expect(chart(accountOf([...cpuidThroughPage, ended])).join('\n')).toMatchInlineSnapshot(`
      "           guest                   hardware                    GHCB                   hypervisor
                   │                         │                         │                         │
             100   │ CPUID                   │                         │                         │
                   │ RIP 0x100432            │                         │                         │
                   │── intercepted: CPUID ──▶│                         │                         │
                   │◀ #VC, error code 0x72 ──│                         │                         │
                   │                         │                         │                         │
             180   │ RAX 0x0                 │                         │                         │
                   │ RCX 0x0                 │                         │                         │
                   │ SW_EXITCODE 0x72 CPUID  │                         │                         │
                   │ SW_EXITINFO1 0x0        │                         │                         │
                   │ SW_EXITINFO2 0x0        │                         │                         │
                   │──────────────────────────────────────────────────▶│                         │
                   │──────── VMGEXIT ───────▶│                         │                         │
                   │                         │ #VMEXIT 0x403 VMGEXIT   │                         │
                   │                         │ the registers stay behind, encrypted in the VMSA  │
                   │                         │──────────────────────────────────────────────────▶│
                   │                         │                         │── reads what is valid ─▶│
                   │                         │                         │ RAX 0x10                │
                   │                         │                         │ RCX 0x444d4163 "cAMD"   │
                   │                         │                         │ RDX 0x69746e65 "enti"   │
                   │                         │                         │ RBX 0x68747541 "Auth"   │
                   │                         │                         │◀────────────────────────│
                   │                         │                         │                         │
                   │                         │◀───────────────────── VMRUN ──────────────────────│
                   │ registers from the VMSA │                         │                         │
                   │◀────────────────────────│                         │                         │"
    `);
  });

  it('draws the values that the trace has, not others', () => {
    const changed = cpuidThroughPage.map((event) =>
      event.kind === 'ghcb' && event.from === 'hypervisor' ? { ...event, fields: { rax: 0xabcdn } } : event,
    );
    const text = accountOf(changed);
    expect(text).toContain('RAX 0xabcd');
    expect(text).not.toContain('"Auth"');
  });

  it('shows the MSR protocol when no CPUID went through a page, every register of it', () => {
    const text = accountOf(cpuidThroughMsr);
    expect(text).toContain('0x8000001f00000004');
    expect(text).toContain('0x3340000005');
  });

  it('prefers the page to the MSR', () => {
    const text = accountOf([...cpuidThroughMsr, ...cpuidThroughPage]);
    expect(text).not.toContain('0x8000001f00000004');
    expect(text).toContain('shared, 0x7f000');
  });

  it('draws a plain exit for a guest without SEV-ES', () => {
    const text = accountOf(plainCpuid, { technology: 'none' });
    expect(text).toContain('#VMEXIT 0x72');
    expect(text).not.toContain('GHCB');
  });

  it('passes over a trip that an interrupt got into', () => {
    const [first, ...rest] = cpuidThroughPage as [TraceEvent, ...TraceEvent[]];
    const timer = at(120, { kind: 'exit', exitCode: 0x60, exitInfo1: 0n, exitInfo2: 0n });
    expect(accountOf([first, timer, ...rest])).not.toContain('step by step');
    expect(accountOf([first, timer, ...rest, ...cpuidThroughPage])).toContain('step by step');
  });

  it('shows the same bytes from both sides', () => {
    const text = accountOf([], {
      views: {
        gpa: 0x10_3000,
        spa: 0x110_3000,
        guest: new TextEncoder().encode('Hello, world!!\n\0'),
        hypervisor: new Uint8Array(16).fill(0xc3),
      },
    });
    expect(text).toContain('guest physical 0x103000, system physical 0x1103000');
    expect(text).toMatch(/0x103000 {2}48 65 6c 6c 6f 2c 20 77 {2}Hello, w +│ +c3 c3 c3 c3 c3 c3 c3 c3 {2}\.{8}/);
  });

  it('says that both see the same where they do', () => {
    const bytes = new TextEncoder().encode('plain to all    ');
    expect(accountOf([], { views: { gpa: 0, spa: 0, guest: bytes, hypervisor: bytes } })).toContain('as the hypervisor sees it: the same');
  });

  it('names what is not implemented', () => {
    const missing = at(1, { kind: 'unimplemented', instruction: 'VPADDD', rip: 0x1234n });
    expect(accountOf([missing, missing])).toContain('not implemented: VPADDD at RIP 0x1234, 2 times');
  });

  it('tells of the last moments of a guest that failed, in the words of the manual', () => {
    const text = accountOf(
      [
        at(1, { kind: 'exception', vector: 14, errorCode: 2, rip: 0x10_0600n, cr2: 0xdead_0000n }),
        at(2, { kind: 'exit', exitCode: 0x7f, exitInfo1: 0n, exitInfo2: 0n }),
      ],
      {
        status: 1,
        ending: 'the guest shut down: triple fault',
        symbols: (address) => (address === 0x10_0600n ? 'main+0x10' : null),
        codeAt: () => 'mov [rax],rax',
      },
    ).replaceAll(/\s+/g, ' ');
    expect(text).toContain('exception #PF (vector 14), error code 0x2, CR2 0xdead0000 at RIP 0x100600 in main+0x10: mov [rax],rax');
    expect(text).toContain('last exit: SHUTDOWN (0x7f)');
    expect(text).toContain('they are in the VMSA, encrypted');
  });

  it('offers --sev none when the first #VC found no handler', () => {
    const shutdown = at(2, { kind: 'exit', exitCode: 0x7f, exitInfo1: 0n, exitInfo2: 0n });
    expect(accountOf([out, shutdown], { status: 1 })).toContain('--sev none');
    expect(accountOf([...cpuidThroughPage, shutdown], { status: 1 })).not.toContain('--sev none');
  });

  it.each([40, 80, 100, 120, 200])('keeps within %i columns (80 at least)', (width) => {
    const text = accountOf([...launchCommands, ...cpuidThroughPage, out, ended], { status: 1, seconds: 12_345.67 }, width);
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(Math.max(80, width));
  });

  it('stays bounded however much happens', () => {
    const account = new Account();
    for (let n = 0; n < 20_000; n++) {
      account.note(at(n, { kind: 'unimplemented', instruction: `OP${n}`, rip: 0n }));
      account.note(at(n, { kind: 'asp', command: `C${n}`, status: 'SUCCESS', detail: {} }));
    }
    expect(account.tally.unimplemented.size).toBeLessThanOrEqual(16);
    expect(account.tally.commands.length).toBeLessThanOrEqual(4096);
  });
});

describe('the JSON report', () => {
  it('has the documented fields, in the documented order', () => {
    const tally = new Tally();
    for (const event of [...launchCommands, ...cpuidThroughPage, out]) tally.note(event);
    const given = {
      outcome: 'ended',
      reason: 'r',
      status: 0,
      value: 0,
      serial: 's',
      serialDropped: 0,
      instructions: 1,
      elements: 2,
      traceHash: 'h',
      seed: '0',
      seconds: 0.1,
    } as const;
    const made = report(given, tally);
    expect(made).toEqual({
      version: 1,
      ...given,
      exits: { VMGEXIT: 1 },
      vc: { CPUID: 1, IOIO: 1 },
      unimplemented: {},
      measurement: 'ab'.repeat(32),
      measurementNonce: 'cd'.repeat(16),
    });
    expect(Object.keys(made).slice(0, 5)).toEqual(['version', 'outcome', 'reason', 'status', 'value']);
  });

  it('has null for a measurement that there is not', () => {
    const made = report(
      {
        outcome: 'limit',
        reason: '',
        status: 3,
        value: null,
        serial: '',
        serialDropped: 0,
        instructions: 0,
        elements: 0,
        traceHash: '',
        seed: '0',
        seconds: 0,
      },
      new Tally(),
    );
    expect(made.measurement).toBeNull();
  });
});
