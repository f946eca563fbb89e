// Events that stand for one instruction whose operands are registers: GHCB specification, table 7, in its order.

import { Ghcb } from '../../arch/ghcb.ts';
import { fromHalves, highHalf, lowHalf } from '../../util/halves.ts';
import type { Field } from '../../util/struct.ts';
import { readCounter } from '../msrs.ts';
import { type Answer, badInput, done, generalProtection } from './answers.ts';
import { ioioPort, ioioSize } from './ioio.ts';
import type { GhcbPage } from './page.ts';
import type { Services } from './services.ts';

const { cpl, rax, rbx, rcx, rdx, rsi, swExitInfo1, xcr0, xss } = Ghcb.layout;

export const LEAF_XSAVE = 0xd;

/** Guests remember what they wrote and need not ask. */
export function readDr7(vcpu: Services, ghcb: GhcbPage): Answer {
  ghcb.set(rax, vcpu.debugControl);
  return done;
}

/** SW_EXITINFO1[3:0] names the register with the value (APM 15.8.1): it must be RAX, the one that is handed over. */
export function writeDr7(vcpu: Services, ghcb: GhcbPage): Answer {
  if (!ghcb.isZero(swExitInfo1)) return badInput;
  if (ghcb.high(rax) !== 0) return generalProtection;
  vcpu.debugControl = BigInt(ghcb.low(rax));
  return done;
}

export function readTsc(vcpu: Services, ghcb: GhcbPage): Answer {
  return edxEax(ghcb, vcpu.tsc());
}

export function readTscp(vcpu: Services, ghcb: GhcbPage): Answer {
  ghcb.set(rcx, vcpu.tscAux());
  return readTsc(vcpu, ghcb);
}

export function readPmc(vcpu: Services, ghcb: GhcbPage): Answer {
  return edxEax(ghcb, readCounter(vcpu, ghcb.low(rcx)));
}

/** XSS counts if the guest gives it: Linux, which speaks version 2, does not. */
export function cpuid(vcpu: Services, ghcb: GhcbPage): Answer {
  const leaf = ghcb.low(rax);
  const states = leaf === LEAF_XSAVE;
  const supervisor = states && ghcb.protocolVersion >= 2 && ghcb.has(xss) ? ghcb.get(xss) : 0n;
  const result = vcpu.cpuid(leaf, ghcb.low(rcx), states ? ghcb.get(xcr0) : 1n, supervisor);
  ghcb.set64(rax, result[0], 0);
  ghcb.set64(rbx, result[1], 0);
  ghcb.set64(rcx, result[2], 0);
  ghcb.set64(rdx, result[3], 0);
  return done;
}

export function readMsr(vcpu: Services, ghcb: GhcbPage): Answer {
  return edxEax(ghcb, vcpu.readMsr(ghcb.low(rcx)));
}

export function writeMsr(vcpu: Services, ghcb: GhcbPage): Answer {
  return vcpu.writeMsr(ghcb.low(rcx), fromHalves(ghcb.low(rax), ghcb.low(rdx))) ? done : generalProtection;
}

/** A value in EDX:EAX; null: there is none, #GP. */
function edxEax(ghcb: GhcbPage, value: bigint | null): Answer {
  if (value === null) return generalProtection;
  ghcb.set64(rax, lowHalf(value), 0);
  ghcb.set64(rdx, highHalf(value), 0);
  return done;
}

export function portIn(vcpu: Services, ghcb: GhcbPage): Answer {
  const word = ghcb.low(swExitInfo1);
  ghcb.set64(rax, vcpu.portIn(ioioPort(word), ioioSize(word)), 0);
  return done;
}

export function portOut(vcpu: Services, ghcb: GhcbPage): Answer {
  const word = ghcb.low(swExitInfo1);
  const value = ghcb.low(rax);
  const size = ioioSize(word);
  vcpu.portOut(ioioPort(word), size, size === 4 ? value : value & ((1 << (8 * size)) - 1));
  return done;
}

export function hypercall(vcpu: Services, ghcb: GhcbPage): Answer {
  const value = (field: Field): bigint => (ghcb.has(field) ? ghcb.get(field) : 0n);
  ghcb.set(rax, vcpu.hypercall(ghcb.get(rax), ghcb.low(cpl), [value(rbx), value(rcx), value(rdx), value(rsi)]));
  return done;
}

/** INVD as well: what it would lose is not the hypervisor's to lose. */
export function writeBack(vcpu: Services): Answer {
  vcpu.wbinvd();
  return done;
}

/** Nothing is watched: MWAIT may end at any time, and does (APM vol. 3, MWAIT). */
export function monitor(): Answer {
  return done;
}

export function mwait(vcpu: Services): Answer {
  vcpu.yield();
  return done;
}

export function readCr(n: number) {
  return (vcpu: Services, ghcb: GhcbPage): Answer => {
    ghcb.set(rax, vcpu.readControlRegister(n));
    return done;
  };
}

export function writeCr(n: number) {
  return (vcpu: Services, ghcb: GhcbPage): Answer => (vcpu.allowControlRegister(n, ghcb.get(rax)) ? done : generalProtection);
}
