// What a local APIC needs of its processor and of the machine around it.

import type { ApicMessage } from './apic-message.ts';
import type { ApicClock } from './apic-timer.ts';
import type { LocalApic } from './local-apic.ts';

export type LocalApicParts = {
  readonly clock: ApicClock;
  /** TPR bits 7:4, which are CR8 as well: they are kept where the processor has them. */
  readonly taskPriority: { get(): number; set(value: number): void };
  /** End of a level-triggered interrupt, for the I/O APIC. */
  readonly endOfInterrupt: (vector: number) => void;
  /** The page was moved, or enabled or disabled: null. */
  readonly moved: (base: bigint | null) => void;
  /** Physical address bits of the processor. */
  readonly physicalBits: number;
  /** Is there x2APIC mode? */
  readonly x2apic: boolean;
  /** Left out: 0, the boot processor. */
  readonly id?: number;
  /**
   * An IPI for other processors; `everybody`: whatever its destination says; `here`: it is for the sender, too. False: nobody is named. Left
   * out: there are no others.
   */
  readonly send?: (sender: LocalApic, message: ApicMessage, everybody: boolean, here: boolean) => boolean;
};
