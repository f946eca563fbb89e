// MONITOR and MWAIT, and their siblings for any privilege. APM vol. 3. How long MWAIT waits is the implementation's choice: here it
// goes on at once, as after an event that ends the wait.

import { Feature } from '../../arch/cpuid.ts';
import { Vector } from '../../arch/exception.ts';
import { ExitCode } from '../../arch/exit-code.ts';
import { Gpr, State } from '../../memory/state.ts';
import { SystemResult } from '../../x86/emitter.ts';
import type { Processor } from '../processor.ts';
import type { Routine, Routines } from './routine.ts';

/** Extensions in ECX: MWAIT 0, an interrupt ends the wait even if masked; MWAITX 1, so does the time in EBX. */
const INTERRUPT_BREAKS = 1 << 0;
const TIMER = 1 << 1;

/** #UD above CPL 0: HWCR.MonMwaitUserEn is clear. */
const monitor =
  (available: (p: Processor) => boolean): Routine =>
  (p) => {
    if (!available(p)) return p.fault(Vector.UD);
    if (p.gpr32(Gpr.RCX) !== 0) return p.generalProtection();
    return p.intercepted(ExitCode.MONITOR) ? p.exit(ExitCode.MONITOR) : SystemResult.NEXT;
  };

const mwait =
  (available: (p: Processor) => boolean, extensions: number): Routine =>
  (p) => {
    if (!available(p)) return p.fault(Vector.UD);
    if ((p.gpr32(Gpr.RCX) & ~extensions) !== 0) return p.generalProtection();
    if (p.intercepted(ExitCode.MWAIT)) return p.exit(ExitCode.MWAIT);
    const armed = p.u32(State.MONITOR_ARMED) !== 0;
    if (armed && p.intercepted(ExitCode.MWAIT_ARMED)) return p.exit(ExitCode.MWAIT_ARMED);
    p.setU32(State.MONITOR_ARMED, 0);
    return SystemResult.NEXT;
  };

const kernel = (p: Processor): boolean => p.cpl === 0 && p.has(Feature.MONITOR);
const anyone = (p: Processor): boolean => p.has(Feature.MONITORX);

export const monitorRoutines: Routines = {
  monitor: monitor(kernel),
  monitorx: monitor(anyone),
  mwait: mwait(kernel, INTERRUPT_BREAKS),
  mwaitx: mwait(anyone, TIMER),
};
