// Events that stand for no instruction: what guest and hypervisor have to agree about (GHCB specification, table 7 and 4.3).

import { exitName } from '../../arch/exit-code.ts';
import { Ghcb, HypervisorFeature } from '../../arch/ghcb.ts';
import { PAGE_SIZE } from '../../util/address.ts';
import { type Answer, badInput, done } from './answers.ts';
import type { GhcbPage } from './page.ts';
import type { Services } from './services.ts';

const { rax, swExitInfo1, swExitInfo2 } = Ghcb.layout;

/**
 * What table 1 has for a guest without SNP. The list of APIC IDs asks for nothing that SEV-ES has not. Page state changes (bit 6) would:
 * there is no RMP whose state could change, and the C-bit of a page is in the guest's own tables.
 */
export const FEATURES = BigInt(HypervisorFeature.APIC_ID_LIST);

export function nmiComplete(vcpu: Services): Answer {
  vcpu.nmiComplete();
  return done;
}

/** The answer stands while the processor is parked: SW_EXITINFO2 = 0, no SIPI. One that comes makes it 1 (4.3.1). */
export function apResetHold(vcpu: Services): Answer {
  vcpu.apResetHold('ghcb');
  return done;
}

/** The hypervisor only keeps the address: firmware puts it here, and the operating system asks for it. */
export function setJumpTable(vcpu: Services, ghcb: GhcbPage): Answer {
  vcpu.jumpTable = ghcb.get(swExitInfo2);
  return done;
}

export function getJumpTable(vcpu: Services): Answer {
  return { kind: 'done', info2: vcpu.jumpTable };
}

/** A count and the IDs, 32 bits each, if they fit into so many pages as RAX says; else RAX says how many it takes. */
export function apicIdList(vcpu: Services, ghcb: GhcbPage): Answer {
  const { apicIds } = vcpu;
  const gpa = ghcb.get(swExitInfo1);
  const pages = Math.ceil((4 * (1 + apicIds.length)) / PAGE_SIZE);
  if ((ghcb.low(swExitInfo1) & (PAGE_SIZE - 1)) !== 0) return badInput;
  if (ghcb.get(rax) < BigInt(pages)) {
    ghcb.set(rax, BigInt(pages));
    return done;
  }
  if (!vcpu.isRam(gpa, pages * PAGE_SIZE)) return badInput;
  ghcb.set(rax, ghcb.get(rax));
  vcpu.writeMemory(gpa, new Uint8Array(Uint32Array.of(apicIds.length, ...apicIds).buffer));
  return done;
}

export const hypervisorFeatures: Answer = { kind: 'done', info2: FEATURES };

export function terminate(_vcpu: Services, ghcb: GhcbPage): Answer {
  const info1 = ghcb.low(swExitInfo1);
  return { kind: 'end', outcome: { kind: 'terminated', set: info1 & 0xf, code: (info1 >>> 4) & 0xff, info: ghcb.get(swExitInfo2) } };
}

export function unsupported(_vcpu: Services, ghcb: GhcbPage): Answer {
  const reason = `the guest reports a #VC that it cannot handle: ${exitName(ghcb.low(swExitInfo1))} (unsupported event)`;
  return { kind: 'end', outcome: { kind: 'stopped', reason } };
}
