// The system routines by number, as generated code calls them.

import { systemRoutines } from '../../x86/emitter.ts';
import type { Routine } from './routine.ts';
import { controlRoutines } from './control.ts';
import { flagRoutines } from './flags.ts';
import { ioRoutines } from './io.ts';
import { miscRoutines } from './misc.ts';
import { monitorRoutines } from './monitor.ts';
import { msrRoutines } from './msr.ts';
import { sseFloatRoutines } from './sse-float.ts';
import { stackRoutines } from './stack.ts';
import { tableRoutines } from './tables.ts';
import { textRoutines } from './text.ts';
import { translationRoutines } from './translation.ts';
import { farRoutines } from './far.ts';
import { fastCallRoutines } from './fast-call.ts';
import { interruptRoutines } from './interrupt.ts';
import { iretRoutines } from './iret.ts';
import { verifyRoutines } from './verify.ts';
import { fxsaveRoutines } from './fxsave.ts';
import { xsaveRoutines } from './xsave.ts';
import { x87ArithmeticRoutines } from './x87-arithmetic.ts';
import { x87EnvironmentRoutines } from './x87-environment.ts';
import { x87MoveRoutines } from './x87-move.ts';
import { x87TranscendentalRoutines } from './x87-transcendental.ts';

/** Routines of the x87, and those that save extended state. */
const x87Routines = {
  ...x87MoveRoutines,
  ...x87ArithmeticRoutines,
  ...x87TranscendentalRoutines,
  ...x87EnvironmentRoutines,
  ...fxsaveRoutines,
  ...xsaveRoutines,
};

const all = {
  ...miscRoutines,
  ...controlRoutines,
  ...msrRoutines,
  ...monitorRoutines,
  ...translationRoutines,
  ...tableRoutines,
  ...flagRoutines,
  ...ioRoutines,
  ...stackRoutines,
  ...farRoutines,
  ...fastCallRoutines,
  ...interruptRoutines,
  ...iretRoutines,
  ...textRoutines,
  ...verifyRoutines,
  ...sseFloatRoutines,
  ...x87Routines,
};
/** What nobody implements is an event of the trace. */
export const routines: readonly Routine[] = systemRoutines.map(
  (name) => (all as Partial<Record<string, Routine>>)[name] ?? (miscRoutines.notImplemented as Routine),
);
