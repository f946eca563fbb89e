// Every variant, in the order in which cells are judged.

import { EventInj } from '../arch/ghcb.ts';
import { Vector } from '../arch/exception.ts';
import { ExitCode } from '../arch/exit-code.ts';
import type { InterposedVcpu } from '../hypervisor/ghcb/interposer.ts';
import type { ConformEvent } from './event.ts';
import { msrVariants } from './msr-variants.ts';
import { pageVariants } from './page-variants.ts';
import type { Variant } from './variant.ts';

const right: Variant = {
  id: 'right',
  group: 'right',
  title: 'answers as it should',
  applies: () => true,
  play: ({ answer }) => answer(),
};

/** The guest asked for the end, and is entered once more. It must not believe that it may go on. */
const continued: Variant = {
  id: 'entered-again',
  group: 'error',
  title: 'enters the guest again, which asked for the end of its run',
  applies: ({ reply }) => reply === null,
  play: ({ answer, request, vcpu }) => {
    if (request.protocol === 'msr') vcpu.ghcbMsr = request.value;
    else answer();
    return null;
  },
};

const event = (bits: number, vector: number, errorCode?: number): bigint =>
  BigInt(EventInj.VALID + bits + vector) | (errorCode === undefined ? 0n : BigInt(EventInj.ERROR_CODE) | (BigInt(errorCode) << 32n));

/** Events that a guest gets in the middle of a handler. A parked processor gets none. */
const injected = (
  id: string,
  title: string,
  bring: (vcpu: InterposedVcpu) => void,
  comparable: boolean,
  more: Partial<Variant> = {},
): Variant => ({
  id,
  group: 'injected',
  title: `answers as it should and injects ${title}`,
  ...(comparable ? { event: bring } : {}),
  applies: ({ reply, request }) => reply !== null && request.row?.name !== 'AP reset hold',
  play: ({ answer, vcpu }) => {
    const outcome = answer();
    if (outcome === null) bring(vcpu);
    return outcome;
  },
  ...more,
});

const exception = (id: string, title: string, vector: number, errorCode: number): Variant =>
  injected(id, title, (vcpu) => vcpu.inject(event(EventInj.TYPE_EXCEPTION, vector, errorCode)), false);
const interrupt = (id: string, title: string, vector: number, comparable: boolean): Variant =>
  injected(id, title, (vcpu) => vcpu.inject(event(EventInj.TYPE_INTR, vector)), comparable);
const vc = (code: number, title: string): Variant =>
  exception(`inject-vc-${code.toString(16)}`, `#VC with the error code of ${title}`, Vector.VC, code);

const injections: readonly Variant[] = [
  vc(ExitCode.EXCEPTION + Vector.DB, 'an intercepted #DB'),
  vc(ExitCode.CPUID, 'CPUID'),
  vc(ExitCode.IOIO, 'IOIO'),
  vc(ExitCode.MSR, 'MSR'),
  vc(ExitCode.VMMCALL, 'VMMCALL'),
  vc(ExitCode.NPF, 'NPF'),
  exception('inject-gp', '#GP', Vector.GP, 0),
  injected('inject-nmi', 'an NMI', ({ interrupts: { apic } }) => (apic.nmi = true), true, { nmi: true }),
  interrupt('inject-interrupt', 'an interrupt, vector 30h', 0x30, true),
  interrupt('inject-80', 'an interrupt with vector 80h, a system call', 0x80, false),
];

/** The same where the instruction itself is about to be executed: in the program, not in the handler. */
const early = (id: string, title: string, eventInj: bigint): Variant => ({
  id: `early-${id}`,
  group: 'injected',
  title: `injects ${title} before the instruction`,
  early: (vcpu) => vcpu.inject(eventInj),
  applies: ({ stoppable }) => stoppable,
  play: ({ answer }) => answer(),
});

const earlyVc = (code: number, title: string): Variant =>
  early(`vc-${code.toString(16)}`, `#VC with the error code of ${title}`, event(EventInj.TYPE_EXCEPTION, Vector.VC, code));

const earlier: readonly Variant[] = [
  earlyVc(ExitCode.CPUID, 'CPUID'),
  earlyVc(ExitCode.IOIO, 'IOIO'),
  earlyVc(ExitCode.MSR, 'MSR'),
  earlyVc(ExitCode.VMMCALL, 'VMMCALL'),
  earlyVc(ExitCode.NPF, 'NPF'),
  earlyVc(ExitCode.DR0_READ + 7, 'a DR7 read'),
  earlyVc(ExitCode.DR0_WRITE + 7, 'a DR7 write'),
  earlyVc(ExitCode.RDTSC, 'RDTSC'),
  earlyVc(ExitCode.RDPMC, 'RDPMC'),
  earlyVc(ExitCode.INVD, 'INVD'),
  earlyVc(ExitCode.RDTSCP, 'RDTSCP'),
  earlyVc(ExitCode.WBINVD, 'WBINVD'),
  earlyVc(ExitCode.MONITOR, 'MONITOR'),
  earlyVc(ExitCode.MWAIT, 'MWAIT'),
  early('80', 'an interrupt with vector 80h, a system call,', event(EventInj.TYPE_INTR, 0x80)),
];

export const variants: readonly Variant[] = [right, continued, ...pageVariants, ...msrVariants, ...injections, ...earlier];

export const variantsOf = (asked: ConformEvent): Variant[] => variants.filter(({ applies }) => applies(asked));
