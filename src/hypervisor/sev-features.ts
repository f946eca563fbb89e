// SEV_FEATURES of a guest's VMSAs (APM vol. 2, table 15-32): what --sev-features may ask for, and what follows from it for the hypervisor.

import type { Technology } from '../arch/boot-page.ts';
import { Feature, reportsFeature } from '../arch/cpuid.ts';
import { SevFeatures } from '../arch/sev-features.ts';
import type { CpuidResult } from './ghcb/services.ts';
import { UserError } from '../util/errors.ts';

const known = [{ name: 'debug-swap', bit: SevFeatures.DEBUG_VIRTUALIZATION, feature: Feature.DEBUG_SWAP, first: 'milan' }] as const;

/** The bits of SEV_FEATURES by name. Throws UserError: the name, the guest or the processor model is none for it. */
export function parseSevFeatures(
  names: readonly string[],
  technology: Technology,
  cpuid: (leaf: number, subleaf: number) => CpuidResult,
): number {
  let bits = 0;
  for (const given of names) {
    const found = known.find(({ name }) => name === given.trim().toLowerCase().replaceAll('_', '-'));
    if (found === undefined) throw new UserError(`--sev-features ${given}: give ${known.map(({ name }) => name).join(', ')}`);
    if (technology !== 'sev-es')
      throw new UserError(`--sev-features ${given}: only SEV-ES guests have a VMSA to set it in: give --sev sev-es`);
    if (!reportsFeature(cpuid, found.feature))
      throw new UserError(
        `--sev-features ${given}: this processor model has no such feature: the first that has it is ${found.first} (--cpu)`,
      );
    bits |= found.bit;
  }
  return bits;
}

/** The guest's debug registers are swapped: nobody needs to intercept DR7 (DebugSwap). */
export const swapsDebugRegisters = (features: number): boolean => (features & SevFeatures.DEBUG_VIRTUALIZATION) !== 0;
