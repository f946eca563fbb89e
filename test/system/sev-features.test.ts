// --sev-features: bits of SEV_FEATURES in the VMSAs of a guest, and what becomes of the intercepts (APM vol. 2, 15.35.10: with DebugSwap
// the guest's debug registers are its own, and nobody needs to intercept DR7).

import { describe, expect, it } from 'vitest';
import { run, type GuestOptions } from '../../src/cbit.ts';
import { MEMORY, smallGuest } from './small-guest.ts';

const start = (code: string, options: GuestOptions = {}) =>
  run({ image: { name: 'test', bytes: smallGuest(code) }, memory: MEMORY, maxInstructions: 1_000_000, haltOk: true, ...options });

/** Sets a breakpoint behind itself and takes its #DB: the guest shuts down unless DR7 is its own. */
const BREAKPOINT = `
  lea rax, [rel there]
  mov dr0, rax
  mov rax, 0x402
  mov dr7, rax
  mov rbx, dr7
  cmp rbx, rax
  jne bad
  jmp good
bad: ud2
there: nop
good: nop`;

describe('--sev-features debug-swap', () => {
  it('leaves DR7 to the guest: no #VC', () => {
    const { outcome, vc } = start(BREAKPOINT, { sevFeatures: ['debug-swap'] });
    expect(outcome.kind).toBe('halted');
    expect(vc).toEqual({});
  });

  it('left out, DR7 accesses are #VC, which a guest without a handler for them does not survive', () => {
    const { outcome, vc } = start(BREAKPOINT);
    expect(outcome.kind).toBe('shutdown');
    expect(Object.keys(vc)).toEqual(['DR7_WRITE']);
  });

  it('is intercepted all the same if somebody asks for it', () => {
    expect(Object.keys(start(BREAKPOINT, { sevFeatures: ['debug-swap'], intercepts: ['dr7_write'] }).vc)).toEqual(['DR7_WRITE']);
  });

  it('is part of the measurement', () => {
    expect(start('nop', { sevFeatures: ['debug-swap'] }).measurement).not.toBe(start('nop').measurement);
  });

  it('is for every virtual CPU', () => {
    expect(start('nop', { sevFeatures: ['debug-swap'], vcpus: 2 }).outcome.kind).toBe('halted');
  });

  it.each([
    ['a processor model without it', { cpu: 'rome' }, 'the first that has it is milan'],
    ['a guest without SEV-ES', { technology: 'sev' }, 'give --sev sev-es'],
    ['a bare machine', { bare: true }, 'leave --sev-features out'],
    ['a name that is none', { sevFeatures: ['secure-tsc'] }, 'give debug-swap'],
  ] as const)('refuses %s in one line that says what would do', (_, options, mend) => {
    expect(() => start('nop', { sevFeatures: ['debug-swap'], ...options })).toThrow(mend);
  });
});
